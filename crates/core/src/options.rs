//! The options of a turn, each of which can be left to its default.

use crate::{Budget, Limit, Limits, ModelChoice, ModelSourceType, PermissionPolicy};
use std::time::Duration;

/// Defines a struct of options and the method that combines two of them, so that an option is one line here.
macro_rules! options {
    ($(#[$of_struct:meta])* pub struct $name:ident { $($(#[$of_option:meta])* pub $option:ident: Option<$value:ty>,)+ }) => {
        $(#[$of_struct])*
        pub struct $name {
            $($(#[$of_option])* pub $option: Option<$value>,)+
        }

        impl $name {
            /// Fills in unset options from `defaults`, option by option.
            #[must_use]
            pub fn or(self, defaults: &Self) -> Self {
                Self { $($option: self.$option.or_else(|| Option::clone(&defaults.$option)),)+ }
            }
        }
    };
}

options! {
    /// The options of a turn. An option that is `None` is unset: the defaults apply, then opencode's own.
    ///
    /// A [`Prompt`](crate::Prompt) and the defaults of a runner use the same struct; [`or`](Self::or) combines the two.
    /// No set value means "unset": `Some(PermissionPolicy::Deny)` of a turn overrides `Some(PermissionPolicy::Allow)`
    /// of its runner, and `Some(Limit::Off)` overrides a limit.
    #[derive(Debug, Clone, Default)]
    #[non_exhaustive]
    pub struct TurnOptions {
        /// The model that answers.
        pub model: Option<ModelChoice>,
        /// The model role, used by the owner of the model sources to choose the model. Executors ignore it.
        pub source_type: Option<ModelSourceType>,
        /// A system prompt, added to opencode's own. An empty one means no system prompt, whatever the defaults are.
        pub context: Option<String>,
        /// opencode's agent, such as `build` or `plan`.
        pub agent: Option<String>,
        /// The model's variant, such as `high`. A server rejects a variant that the model does not have.
        pub variant: Option<String>,
        /// A title for a new session.
        pub title: Option<String>,
        /// The policy for permission requests; [`PermissionPolicy::Deny`] if it is unset everywhere.
        pub permissions: Option<PermissionPolicy>,
        /// The limit on the whole turn, including the time in which the user is asked.
        pub timeout: Option<Limit<Duration>>,
        /// The limit on the time without progress; [`TurnMachine::limit_at`](crate::TurnMachine::limit_at) defines
        /// progress.
        pub idle_timeout: Option<Limit<Duration>>,
        /// The [maximum cost](Budget::max_cost_usd) in USD.
        pub max_cost_usd: Option<Limit<f64>>,
        /// The [maximum number of requests](Budget::max_requests) to the model.
        pub max_requests: Option<Limit<u64>>,
        /// The [maximum number of tokens](Budget::max_tokens).
        pub max_tokens: Option<Limit<u64>>,
    }
}

impl TurnOptions {
    /// Sets the given time limits; a `None` changes nothing.
    pub fn set_limits(&mut self, Limits { total, idle }: Limits) {
        self.timeout = total.map(Limit::At).or(self.timeout);
        self.idle_timeout = idle.map(Limit::At).or(self.idle_timeout);
    }

    /// Sets the given limits of a budget; a `None` changes nothing.
    pub fn set_budget(&mut self, Budget { max_cost_usd, max_requests, max_tokens }: Budget) {
        self.max_cost_usd = max_cost_usd.map(Limit::At).or(self.max_cost_usd);
        self.max_requests = max_requests.map(Limit::At).or(self.max_requests);
        self.max_tokens = max_tokens.map(Limit::At).or(self.max_tokens);
    }

    /// Switches every limit of the budget off.
    pub fn switch_budget_off(&mut self) {
        self.max_cost_usd = Some(Limit::Off);
        self.max_requests = Some(Limit::Off);
        self.max_tokens = Some(Limit::Off);
    }

    /// Returns the time limits of a turn with these options; an unset one means no limit.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits { total: self.timeout.and_then(Limit::value), idle: self.idle_timeout.and_then(Limit::value) }
    }

    /// Returns the budget of a turn with these options; an unset limit is absent.
    #[must_use]
    pub fn budget(&self) -> Budget {
        Budget {
            max_cost_usd: self.max_cost_usd.and_then(Limit::value),
            max_requests: self.max_requests.and_then(Limit::value),
            max_tokens: self.max_tokens.and_then(Limit::value),
        }
    }

    /// Returns the permission policy of a turn with these options; an unset one denies.
    #[must_use]
    pub fn permission_policy(&self) -> PermissionPolicy {
        self.permissions.clone().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns two sets of options that differ in every field, including off and default values.
    fn two() -> [TurnOptions; 2] {
        let of = |name: &str, source, permissions, time, amount: Limit<u64>, cost| TurnOptions {
            model: Some(ModelChoice::Named(format!("{name}/m").parse().unwrap())),
            source_type: Some(source),
            context: Some(name.trim_start_matches("off").to_owned()),
            agent: Some(format!("{name} agent")),
            variant: Some(format!("{name} variant")),
            title: Some(format!("{name} title")),
            permissions: Some(permissions),
            timeout: Some(time),
            idle_timeout: Some(time),
            max_cost_usd: Some(cost),
            max_requests: Some(amount),
            max_tokens: Some(amount),
        };
        [
            of("off", ModelSourceType::Default, PermissionPolicy::Deny, Limit::Off, Limit::Off, Limit::Off),
            of(
                "on",
                ModelSourceType::Code,
                PermissionPolicy::Allow,
                Limit::At(Duration::from_secs(1)),
                Limit::At(1),
                Limit::At(1.0),
            ),
        ]
    }

    /// Returns the `Debug` text for comparisons, because a policy has no equality.
    fn shown(options: &TurnOptions) -> String {
        format!("{options:#?}")
    }

    #[test]
    fn set_options_override_defaults() {
        let [off, on] = two();
        for (of_turn, default) in [(&off, &on), (&on, &off)] {
            assert_eq!(shown(&of_turn.clone().or(default)), shown(of_turn));
            assert_eq!(shown(&TurnOptions::default().or(default)), shown(default));
            assert_eq!(shown(&of_turn.clone().or(&TurnOptions::default())), shown(of_turn));
        }
        let differing = |(a, b): &(&str, &str)| a != b;
        let off = shown(&off);
        let on = shown(&on);
        let values = off.lines().zip(on.lines()).filter(differing).count();
        assert!(values >= 12, "the two differ in every option:\n{off}\n{on}");
    }

    #[test]
    fn off_limit_overrides_default() {
        let mut options = TurnOptions::default();
        assert_eq!((options.limits(), options.budget()), (Limits::default(), Budget::default()));
        let second = Duration::from_secs(1);
        options.idle_timeout = Some(Limit::At(second));
        options.max_cost_usd = Some(Limit::At(0.5));
        options.set_limits(Limits { total: Some(second), ..Limits::default() });
        options.set_budget(Budget { max_requests: Some(3), ..Budget::default() });
        assert_eq!(options.limits(), Limits { total: Some(second), idle: Some(second) });
        let budget = Budget { max_cost_usd: Some(0.5), max_requests: Some(3), max_tokens: None };
        assert_eq!(options.budget(), budget);
        let mut lifted = TurnOptions { idle_timeout: Some(Limit::Off), ..TurnOptions::default() };
        lifted.switch_budget_off();
        let combined = lifted.or(&options);
        assert_eq!(combined.limits(), Limits { total: Some(second), idle: None });
        assert!(combined.budget().is_unlimited());
    }

    #[test]
    fn unset_permission_policy_denies() {
        assert!(matches!(TurnOptions::default().permission_policy(), PermissionPolicy::Deny));
    }
}
