//! Rendered Markdown, with any chunking of the input.

use super::*;

fn whole(source: &str, columns: usize) -> String {
    let mut rich = RichText::new(columns);
    let mut lines = rich.push(source);
    lines.extend(rich.finish());
    lines.iter().map(|line| line.to_text(false) + "\n").collect()
}

const SAMPLE: &str = "\
# The plan

First a paragraph with **bold**, *italic*, ~~old~~ and `code`, which is long enough to be wrapped at sixty columns.
A second line of it, with [a link](https://example.org) and <https://example.com>.

Setext
------
1. one
2. two with a text that goes on and on until it has to be wrapped behind its number
   - nested `x`
     and lazy

   a further paragraph of two
3. three

- [x] done
- [ ] open
* star

> quoted *text*
> > deeper
> ```sh
> ls # list
> ```

```rust
fn main() {
    let x = \"a\"; /* over
    lines */ // end
}
```
~~~
plain ` code
~~~

| name | count | note |
|:-----|------:|:----:|
| a    | 1     | **b** |
| long name | 1000 | `x|y` |

---
[ref]: https://example.org
1986\\. A year.
&lt;tag&gt; &#27;[2J <b>html</b>

    indented code
last";

#[test]
fn markdown_is_rendered() {
    insta::assert_snapshot!(whole(SAMPLE, 60));
}

#[test]
fn narrow_terminal_breaks_lines() {
    let shown = whole(SAMPLE, 24);
    for line in shown.lines().filter(|line| !line.contains("let x")) {
        assert!(crate::styled::width(line) < 24, "{line:?}");
    }
}

#[test]
fn wide_table_fits_narrow_window() {
    let shown = whole("| name | 说明 | c | d |\n|--|--|--|--|\n| long name | 异步运行时。 | 3 | 4 |\n", 20);
    assert!(shown.lines().all(|line| crate::styled::width(line) < 20), "{shown}");
    assert!(shown.contains("\nlong name\n异步运行时。\n3\n4\n"), "{shown}");
}

#[test]
fn punctuation_does_not_begin_a_line() {
    let text = "运行**测试**。并记录结果（包括`耗时`、内存），用cargo 1.2.";
    for columns in 17..40 {
        let shown = whole(text, columns);
        for line in shown.lines() {
            assert!(!line.starts_with(['。', '、', '，', '）', '.']) && !line.ends_with('（'), "{columns}: {shown}");
            assert!(crate::styled::width(line) < columns, "{columns}: {shown}");
        }
        assert_eq!(shown.replace(['\n', ' '], ""), text.replace(['*', '`', ' '], ""), "{columns}");
    }
}

#[test]
fn pieces_give_same_lines() {
    let expected = whole(SAMPLE, 60);
    for size in [1, 2, 7, 64] {
        let mut rich = RichText::new(60);
        let mut lines = Vec::new();
        let chars: Vec<char> = SAMPLE.chars().collect();
        for piece in chars.chunks(size) {
            let piece: String = piece.iter().collect();
            // Reading the tail has no effect.
            rich.tail();
            lines.extend(rich.push(&piece));
        }
        lines.extend(rich.finish());
        let shown: String = lines.iter().map(|line| line.to_text(false) + "\n").collect();
        assert_eq!(shown, expected, "{size}");
    }
}

#[test]
fn entity_cannot_control_the_terminal() {
    let mut rich = RichText::new(60);
    let mut lines = rich
        .push("&#27;[2J &#x1b;]52;c;x&#7; [a](<&#27;[8m>) ![x](y \"z\")\n\n| &#27; | b |\n|--|--|\n| &#x9b; | d |\n");
    lines.extend(rich.finish());
    for line in lines {
        let text = line.to_text(false);
        assert!(!text.contains(opencode_run_markdown::is_unsafe_on_terminal), "{text:?}");
    }
}

#[test]
fn no_word_is_lost() {
    let sources = [
        "[a]: http://x\nmore",
        "- \n  text",
        "```",
        "|a|b\n|-|-|\nc",
        "> \n>",
        "#x\n#",
        "***\n**open",
        "1.\n2) x",
        "![",
        "\\",
        "<!-- hidden -->",
        "a\n===\n===",
        "- a\n\n\n      code\n- ```\n  x\n  ```",
    ];
    for source in sources {
        let shown = whole(source, 40);
        for word in source.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            assert!(shown.contains(word), "{word} of {source:?} in {shown:?}");
        }
    }
}

#[test]
fn endless_text_is_bounded() {
    let mut rich = RichText::new(80);
    let mut shown = 0;
    for _ in 0..1000 {
        shown += rich.push(&"word ".repeat(100)).len();
    }
    assert!(shown > 5000 && rich.open.len() <= MAX_LINE_BYTES, "{shown}");
    assert!(rich.tail().len() < 700);
    let mut rows = RichText::new(80);
    let lines = rows.push(&format!("| a | b |\n|---|---|\n{}", "| c | d |\n".repeat(10_000)));
    assert!(lines.len() > 9000, "{}", lines.len());
}
