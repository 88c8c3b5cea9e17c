//! Environment variables: `CHRONOS_` and a flag's name in capitals, or `CRONOS_` for the sake of
//! existing deployments.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::UsageError;
use super::former::FORMER;
use super::load::Layers;
use super::nearest::nearest;
use super::setting::{Given, variable};
use super::settings::SETTINGS;
use super::source::Source;

/// The prefixes, weightier first.
const PREFIXES: [&str; 2] = ["CHRONOS_", "CRONOS_"];

/// A second spelling of one variable, behind its prefix and with the flag that it stands for.
const SECOND_SPELLING: (&str, &str) = ("MIN_IN_SYNC_REPLICAS", "min-insync-replicas");

/// The variables that may concern the node. An empty one counts as not set.
pub(super) struct Environment(BTreeMap<String, OsString>);

impl Environment {
    pub(super) fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let named = |(name, value): (OsString, OsString)| {
            let name = name.into_string().ok()?;
            let ours = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            ((ours || name == "RUST_LOG") && !value.is_empty()).then_some((name, value))
        };
        Self(variables.into_iter().filter_map(named).collect())
    }

    /// The value for a flag's name, and the variable it came from.
    fn find(&self, flag: &str) -> Result<Option<(String, &str)>, UsageError> {
        let mut names = PREFIXES.map(|prefix| variable(prefix, flag)).to_vec();
        if flag == SECOND_SPELLING.1 {
            names.extend(PREFIXES.map(|prefix| format!("{prefix}{}", SECOND_SPELLING.0)));
        }
        if flag == "log-level" {
            names.push("RUST_LOG".to_owned());
        }
        for name in names {
            if let Some(value) = self.0.get(&name) {
                let text = value.to_str().ok_or_else(|| {
                    UsageError::new(format!("the variable {name} is not valid UTF-8"))
                })?;
                return Ok(Some((name, text)));
            }
        }
        Ok(None)
    }

    /// The configuration file that a variable names.
    pub(super) fn file(&self) -> Result<Option<&str>, UsageError> {
        Ok(self.find("config")?.map(|(_, path)| path))
    }

    /// Puts the values into the layers.
    pub(super) fn apply(&self, layers: &mut Layers) -> Result<(), UsageError> {
        for setting in &SETTINGS {
            if let Some((name, value)) = self.find(setting.name)? {
                layers.set(setting, &Given::Text(value), Source::Variable(name))?;
            }
        }
        for former in &FORMER {
            if let Some((name, value)) = self.find(former.name)? {
                layers.former(former, &name, value)?;
            }
        }
        self.report_misspelt(layers);
        Ok(())
    }

    /// A variable that is nearly one of ours is reported and not refused: others, such as
    /// Kubernetes for a service called chronos, set variables with this prefix too.
    fn report_misspelt(&self, layers: &mut Layers) {
        let settings = SETTINGS.iter().map(|setting| setting.name);
        let former = FORMER.iter().map(|former| former.name);
        let flags: Vec<&str> = settings.chain(former).chain(["config"]).collect();
        for name in self.0.keys() {
            let Some(prefix) = PREFIXES.iter().find(|prefix| name.starts_with(*prefix)) else {
                continue;
            };
            let known: Vec<String> = flags.iter().map(|flag| variable(prefix, flag)).collect();
            if known.contains(name) || *name == format!("{prefix}{}", SECOND_SPELLING.0) {
                continue;
            }
            if let Some(near) = nearest(name, known.iter().map(String::as_str)) {
                layers.notice(format!(
                    "the variable {name} is not known and has no effect; did you mean {near}?"
                ));
            }
        }
    }
}
