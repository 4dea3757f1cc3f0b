"use strict";
// Text of an agent becomes text nodes only: nothing here parses it as HTML.
(() => {
  const get = (id) => document.getElementById(id);
  const parse = (id) => JSON.parse(get(id).textContent);
  const models = parse("data-models");
  const tasks = parse("data-rows").map((row, place) => {
    const [id, standing, kind, model, attempts, start, ms, cost, tokens, steps, check, patch, solved, change] = row;
    return { place, id, standing, kind, model: models[model] ?? "", attempts, start, ms, cost, tokens, steps, check, patch, solved, change };
  });
  const compares = tasks.some((task) => task.change);
  const PAGE = 100;

  const make = (name, className, text) => {
    const element = document.createElement(name);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const duration = (ms) => {
    const seconds = Math.floor(ms / 1000);
    if (ms < 1000) return `${ms} ms`;
    if (seconds < 10) return `${(ms / 1000).toFixed(1)} s`;
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, "0")} s`;
    return `${Math.floor(seconds / 3600)} h ${String(Math.floor(seconds / 60) % 60).padStart(2, "0")} min`;
  };
  const money = (usd) => (usd === 0 ? "–" : usd < 0.01 ? `$${usd.toFixed(4)}` : `$${usd.toFixed(2)}`);
  const count = (n) => (n < 10000 ? String(n) : n < 1e6 ? `${(n / 1e3).toFixed(1)}k` : `${(n / 1e6).toFixed(1)}M`);
  const tone = (solved) => (solved === true ? "ok" : solved === false ? "bad" : "off");

  const columns = [
    { name: "Task", key: (task) => task.id, className: "id" },
    { name: "Outcome", key: (task) => `${task.standing} ${task.kind ?? ""}`, className: "outcome" },
    { name: "Started", key: (task) => task.start ?? -1, className: "number", text: (task) => (task.start === null ? "" : `+${duration(task.start)}`) },
    { name: "Duration", key: (task) => task.ms, className: "number", text: (task) => duration(task.ms), down: true },
    { name: "Cost", key: (task) => task.cost, className: "number", text: (task) => money(task.cost), down: true },
    { name: "Tokens", key: (task) => task.tokens, className: "number", text: (task) => count(task.tokens), down: true },
    { name: "Files", key: (task) => (task.patch ? task.patch[0] : -1), className: "number", text: (task) => (task.patch ? String(task.patch[0]) : ""), down: true },
  ];
  if (compares) columns.splice(2, 0, { name: "Before", key: (task) => (task.change ? task.change[0] : ""), className: "outcome" });

  const state = { column: null, down: false, shown: PAGE, open: null };
  const filters = { search: "", standing: "", kind: "", model: "", change: "" };
  let visible = tasks;

  const kindOf = (task) => task.kind ?? (task.solved === false ? "check" : "");
  const errors = new Map();
  const errorOf = (task) => {
    // Only failed tasks have one worth searching; each detail is parsed once.
    if (task.solved === true) return "";
    if (!errors.has(task.place)) errors.set(task.place, (parse(`detail-${task.place}`).error?.text ?? "").toLowerCase());
    return errors.get(task.place);
  };
  const matches = (task) => {
    if (filters.standing && task.standing !== filters.standing) return false;
    if (filters.kind && kindOf(task) !== filters.kind) return false;
    if (filters.model && task.model !== filters.model) return false;
    if (filters.change && task.change?.[0] !== filters.change) return false;
    const words = filters.search.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length === 0) return true;
    const text = `${task.id} ${task.standing} ${task.kind ?? ""} ${task.model}`.toLowerCase();
    return words.every((word) => text.includes(word) || errorOf(task).includes(word));
  };
  const compare = (one, other) => (typeof one === "string" ? one.localeCompare(other, undefined, { numeric: true }) : one - other);

  const badge = (standing, solved, kind) => {
    const part = document.createDocumentFragment();
    part.append(make("span", `badge ${tone(solved)}`, standing));
    if (kind) part.append(make("span", "minor", kind));
    return part;
  };
  const cell = (task, column) => {
    const td = make("td", column.className);
    if (column.name === "Task") {
      const button = make("button", "", task.id);
      button.type = "button";
      button.setAttribute("aria-expanded", String(state.open === task.place));
      td.append(button);
      if (task.attempts > 1) td.append(make("span", "minor", `attempt ${task.attempts}`));
    } else if (column.name === "Outcome") {
      td.append(badge(task.standing, task.solved, task.kind));
      if (task.solved === true && task.standing !== "passed") td.append(make("span", "minor", "check passed"));
      if (task.model && models.length > 1 && !task.id.includes(task.model)) td.append(make("span", "minor", task.model));
    } else if (column.name === "Before") {
      const [change, before] = task.change ?? [];
      if (before) td.append(make("span", "minor", `${change === "same" ? "also " : ""}${before[0]}`));
      else td.append(make("span", "minor", "new"));
      if (change === "fixed" || change === "broken") td.append(make("span", `badge ${change === "fixed" ? "ok" : "bad"}`, change));
    } else {
      td.textContent = column.text(task);
      td.dataset.label = column.name.toLowerCase();
    }
    return td;
  };
  const rowOf = (task) => {
    const row = make("tr", "row");
    row.dataset.task = task.place;
    row.append(...columns.map((column) => cell(task, column)));
    return row;
  };

  const diff = (text) => {
    const pre = make("pre");
    let run = [], kind = "";
    const flush = () => {
      if (run.length) pre.append(kind ? make("span", kind, run.join("")) : run.join(""));
      run = [];
    };
    for (const line of text.split(/(?<=\n)/)) {
      const next = /^(diff |index |--- |\+\+\+ )/.test(line) ? "file" : line.startsWith("@@") ? "hunk" : line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : "";
      if (next !== kind) { flush(); kind = next; }
      run.push(line);
    }
    flush();
    return pre;
  };
  const excerpt = (target, title, part, show = (text) => make("pre", "", text)) => {
    if (!part) return;
    const heading = part.omitted ? `${title}, ${part.tail ? "end" : "beginning"} (${count(part.omitted)} bytes are left out)` : title;
    target.append(make("h3", "", heading), show(part.text));
  };
  const detailOf = (task) => {
    const detail = parse(`detail-${task.place}`);
    const row = make("tr", "detail");
    const td = make("td");
    td.colSpan = columns.length;
    if (detail.links.length) {
      const links = make("div", "links");
      for (const [label, url] of detail.links) {
        const link = make("a", "", label);
        link.href = url;
        link.rel = "noreferrer";
        links.append(link);
      }
      td.append(links);
    }
    if (detail.error) {
      const reason = make("p", "reason", `${task.kind ? `${task.kind}: ` : ""}${detail.error.text}`);
      if (detail.hint) reason.append(make("small", "", detail.hint));
      td.append(reason);
    }
    excerpt(td, "Answer", detail.answer);
    excerpt(td, task.check === false ? "Log of the failed check" : "Log of the check", detail.log);
    excerpt(td, task.patch ? `Patch of ${task.patch[0]} ${task.patch[0] === 1 ? "file" : "files"}` : "Patch", detail.patch, diff);
    excerpt(td, "Transcript", detail.transcript);
    if (detail.attempts?.length) {
      td.append(make("h3", "", "Earlier attempts"));
      td.append(make("pre", "", detail.attempts.join("\n")));
    }
    const facts = make("dl", "facts");
    const fact = (name, value) => facts.append(make("dt", "", name), make("dd", "", value));
    if (task.model) fact("Model", task.model);
    fact("Steps", String(task.steps));
    for (const [name, value] of detail.facts) fact(name, value);
    for (const [name, value] of Object.entries(detail.metadata ?? {})) fact(name, typeof value === "string" ? value : JSON.stringify(value));
    td.append(make("h3", "", "Facts"), facts);
    row.append(td);
    return row;
  };

  const rows = get("rows");
  const render = () => {
    visible = tasks.filter(matches);
    if (state.column) {
      const key = state.column.key;
      visible.sort((one, other) => compare(key(one), key(other)) * (state.down ? -1 : 1) || one.place - other.place);
    }
    const part = document.createDocumentFragment();
    for (const task of visible.slice(0, state.shown)) {
      const row = rowOf(task);
      part.append(row);
      if (state.open === task.place) {
        row.classList.add("open");
        part.append(detailOf(task));
      }
    }
    if (visible.length === 0) {
      const row = make("tr");
      const td = make("td", "empty", "No task matches.");
      td.colSpan = columns.length;
      row.append(td);
      part.append(row);
    }
    rows.replaceChildren(part);
    get("count").textContent = visible.length === tasks.length ? `${tasks.length} tasks` : `${visible.length} of ${tasks.length} tasks`;
    get("more").hidden = visible.length <= state.shown;
    get("reset").hidden = !Object.values(filters).some(Boolean);
    for (const th of get("head").children) {
      const sorted = state.column?.name === th.dataset.name;
      th.setAttribute("aria-sort", sorted ? (state.down ? "descending" : "ascending") : "none");
      th.firstChild.textContent = th.dataset.name + (sorted ? (state.down ? " ↓" : " ↑") : "");
    }
  };
  const toggle = (place) => {
    state.open = state.open === place ? null : place;
    history.replaceState(null, "", state.open === null ? "#" : `#${encodeURIComponent(tasks[place].id)}`);
    render();
  };
  const reveal = (place) => {
    for (const name of Object.keys(filters)) setFilter(name, "");
    state.open = place;
    state.column = null;
    state.shown = Math.max(PAGE, place + 1);
    render();
    rows.querySelector(".open")?.scrollIntoView({ block: "start" });
  };
  const setFilter = (name, value) => {
    filters[name] = value;
    const input = get(name);
    if (input) input.value = value;
  };
  const sortBy = (column) => {
    if (state.column === column) state.down = !state.down;
    else [state.column, state.down] = [column, Boolean(column.down)];
    render();
  };

  for (const column of columns) {
    const th = make("th", column.className);
    th.scope = "col";
    th.dataset.name = column.name;
    const button = make("button", "", column.name);
    button.type = "button";
    button.addEventListener("click", () => sortBy(column));
    th.append(button);
    get("head").append(th);
  }
  const order = get("order");
  order.append(make("option", "", "order of the file"), ...columns.map((column) => make("option", "", `by ${column.name.toLowerCase()}`)));
  order.addEventListener("change", () => {
    state.column = columns[order.selectedIndex - 1] ?? null;
    state.down = Boolean(state.column?.down);
    render();
  });
  for (const name of Object.keys(filters)) {
    get(name)?.addEventListener("input", (event) => {
      filters[name] = event.target.value;
      state.shown = PAGE;
      render();
    });
  }
  get("reset").addEventListener("click", () => {
    for (const name of Object.keys(filters)) setFilter(name, "");
    render();
  });
  get("more").addEventListener("click", () => { state.shown += 5 * PAGE; render(); });
  rows.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (row && !String(getSelection())) toggle(Number(row.dataset.task));
  });
  for (const button of document.querySelectorAll("[data-kind], [data-change]")) {
    button.addEventListener("click", () => {
      for (const name of Object.keys(filters)) setFilter(name, "");
      setFilter(button.dataset.kind ? "kind" : "change", button.dataset.kind ?? button.dataset.change);
      render();
      get("tasks").scrollIntoView();
    });
  }

  const timeline = get("timeline");
  if (timeline) {
    const tip = get("tip");
    timeline.addEventListener("click", (event) => {
      const place = event.target.dataset?.task;
      if (place !== undefined && tasks[place]) reveal(Number(place));
    });
    timeline.addEventListener("mousemove", (event) => {
      const task = tasks[event.target.dataset?.task];
      tip.hidden = !task;
      if (!task) return;
      tip.textContent = `${task.id}: ${task.standing}, ${duration(task.ms)}`;
      tip.style.left = `${Math.min(event.clientX + 12, innerWidth - 330)}px`;
      tip.style.top = `${event.clientY + 14}px`;
    });
    timeline.addEventListener("mouseleave", () => { tip.hidden = true; });
  }
  get("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  const linked = decodeURIComponent(location.hash.slice(1));
  const place = linked ? tasks.findIndex((task) => task.id === linked) : -1;
  if (place >= 0) reveal(place);
  else render();
  document.documentElement.dataset.readyMs = String(Math.round(performance.now()));
})();
