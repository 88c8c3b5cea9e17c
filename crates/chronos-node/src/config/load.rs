//! Puts the layers together: defaults, then the file, then variables, then flags.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::args::{self, Action};
use super::environment::Environment;
use super::error::{UsageError, quoted};
use super::former::{Former, Standing};
use super::setting::{Given, Setting};
use super::source::Source;
use super::{Config, file, validate};

/// What a command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// To run a node.
    Serve(Box<Config>),
    /// To print the settings in force.
    PrintConfig(Box<Config>),
    /// To print the help.
    Help,
    /// To print the version.
    Version,
    /// To print the reference of settings.
    ConfigReference,
    /// To print the reference of metrics.
    MetricsReference,
    /// To report on the log segments in a folder.
    InspectWal(PathBuf),
    /// To go on without nodes that are lost.
    ForceMajority(PathBuf),
}

/// Reads a command line (without the program's name), the environment, and the file they name.
///
/// # Errors
/// One line that names the flag, variable or line of the file, and what to write instead.
pub fn load(
    args: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Invocation, UsageError> {
    let line = args::parse(args)?;
    let print = match line.action {
        Action::Help => return Ok(Invocation::Help),
        Action::Version => return Ok(Invocation::Version),
        Action::ConfigReference => return Ok(Invocation::ConfigReference),
        Action::MetricsReference => return Ok(Invocation::MetricsReference),
        Action::InspectWal(folder) => return Ok(Invocation::InspectWal(folder)),
        Action::ForceMajority(folder) => return Ok(Invocation::ForceMajority(folder)),
        Action::PrintConfig => true,
        Action::Serve => false,
    };
    let environment = Environment::new(variables);
    let mut layers = Layers::default();

    let path = match &line.file {
        Some(path) => Some(path.as_str()),
        None => environment.file()?,
    };
    if let Some(path) = path.filter(|path| !path.is_empty()) {
        file::apply(Path::new(path), &mut layers)?;
    }
    environment.apply(&mut layers)?;
    for (setting, value) in &line.settings {
        layers.set(setting, &Given::Text(value), Source::Flag)?;
    }
    for (former, value) in &line.former {
        layers.former(former, &format!("-{}", former.name), value)?;
    }

    let mut config = layers.config;
    validate::validate(&mut config)?;
    let config = Box::new(config);
    Ok(if print {
        Invocation::PrintConfig(config)
    } else {
        Invocation::Serve(config)
    })
}

/// The configuration while layers are laid over it.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) config: Config,
}

impl Layers {
    /// Sets one value over whatever weaker source set it before.
    pub(super) fn set(
        &mut self,
        setting: &'static Setting,
        given: &Given<'_>,
        source: Source,
    ) -> Result<(), UsageError> {
        setting
            .field
            .set(&mut self.config, given)
            .map_err(|error| UsageError::new(format!("{} {error}", source.label(setting))))?;
        self.config.sources.insert(setting.name, source);
        Ok(())
    }

    /// Judges a flag or variable of the predecessor, called `label` where it was found.
    pub(super) fn former(
        &mut self,
        former: &Former,
        label: &str,
        value: &str,
    ) -> Result<(), UsageError> {
        let harmless = former.is_harmless(value).ok_or_else(|| {
            UsageError::new(format!(
                "{label} takes {}, not {}",
                former.expects(),
                quoted(value)
            ))
        })?;
        match former.standing {
            Standing::NotAvailable(_) if harmless => Ok(()),
            // The value is not repeated: some of these hold secrets.
            Standing::NotAvailable(what) => Err(UsageError::new(format!(
                "{label}: {what} is not available in this version; leave it out to start without"
            ))),
            Standing::NoEffect(why) => {
                self.notice(format!("{label} has no effect: {why}"));
                Ok(())
            }
        }
    }

    /// Keeps a line for the log, once.
    pub(super) fn notice(&mut self, line: String) {
        if !self.config.notices.contains(&line) {
            self.config.notices.push(line);
        }
    }
}
