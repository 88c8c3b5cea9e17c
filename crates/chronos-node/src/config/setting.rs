//! What a setting is: a name, a place in [`Config`], and a type that reads and shows its value.

use std::path::PathBuf;
use std::time::Duration;

use chronos_wal::FsyncMode;
use toml::de::DeValue;

use super::address::Address;
use super::components::LogFormat;
use super::error::quoted;
use super::{Config, duration, number, size, switch};

/// Finds one value in the whole configuration.
type Place<T> = fn(&mut Config) -> &mut T;

/// One thing that can be set by flag, variable or file.
pub struct Setting {
    /// The flag, without dashes. The variable is derived from it.
    pub name: &'static str,
    /// The table in the file, which is also the component.
    pub table: &'static str,
    /// The key within the table.
    pub key: &'static str,
    /// Where the value is and what it may be.
    pub field: Field,
    /// What it does, in sentences.
    pub doc: &'static str,
}

impl Setting {
    /// The name in the file: `table.key`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.table, self.key)
    }

    /// The variable that is documented. The same name with `CRONOS_` works too.
    pub fn variable(&self) -> String {
        variable("CHRONOS_", self.name)
    }
}

/// `-data-dir` is `CHRONOS_DATA_DIR`.
pub(super) fn variable(prefix: &str, flag: &str) -> String {
    format!("{prefix}{}", flag.to_ascii_uppercase().replace('-', "_"))
}

/// Where a value is in [`Config`], how it is written, and its bounds (both ends included).
pub enum Field {
    /// Any text.
    Text(Place<String>),
    /// A file or folder.
    Path(Place<PathBuf>),
    /// Where to listen.
    Address(Place<Address>),
    /// Where others are told to go, or nothing.
    Reachable(Place<Option<Address>>),
    /// Where others are, separated by commas.
    Reachables(Place<Vec<Address>>),
    /// On or off.
    Switch(Place<bool>),
    /// One of a few words.
    Choice(fn(&mut Config) -> &mut dyn Choice),
    /// A count of something.
    Count {
        /// Where it is.
        at: fn(&mut Config) -> &mut dyn Whole,
        /// What is counted, as a plural, or empty.
        of: &'static str,
        /// Least.
        min: u64,
        /// Greatest.
        max: u64,
    },
    /// A size in bytes, with or without a suffix.
    Bytes {
        /// Where it is.
        at: Place<u64>,
        /// Least.
        min: u64,
        /// Greatest.
        max: u64,
    },
    /// A duration with its unit, as Go writes it.
    Duration {
        /// Where it is.
        at: Place<Duration>,
        /// Least.
        min: Duration,
        /// Greatest.
        max: Duration,
    },
    /// A duration written as a whole number of one unit, because existing clients write it so.
    Span {
        /// Where it is.
        at: Place<Duration>,
        /// The unit.
        unit: Unit,
        /// Least.
        min: u64,
        /// Greatest.
        max: u64,
    },
}

/// The unit of a [`Field::Span`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Thousandths of a second.
    Milliseconds,
    /// Hours.
    Hours,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "milliseconds",
            Self::Hours => "hours",
        }
    }

    fn length_ms(self) -> u64 {
        match self {
            Self::Milliseconds => 1,
            Self::Hours => 3_600_000,
        }
    }

    fn times(self, count: u64) -> Option<Duration> {
        Some(Duration::from_millis(count.checked_mul(self.length_ms())?))
    }
}

/// A value as it was given, before its meaning is known.
pub(super) enum Given<'a> {
    /// A flag or a variable.
    Text(&'a str),
    /// A value in the file.
    Toml(&'a DeValue<'a>),
}

impl Field {
    /// Stores a value. The error continues a sentence that begins with the setting's name.
    pub(super) fn set(&self, config: &mut Config, given: &Given<'_>) -> Result<(), String> {
        let text = match given {
            Given::Text(text) => (*text).to_owned(),
            Given::Toml(value) => self
                .text_of(value)
                .ok_or_else(|| format!("takes {}, not {}", self.takes(), kind_of(value)))?,
        };
        let refused = || format!("takes {}, not {}", self.takes(), quoted(&text));
        match self {
            Self::Text(at) => *at(config) = text,
            Self::Path(at) => *at(config) = PathBuf::from(text),
            Self::Address(at) => *at(config) = text.parse().map_err(|_| refused())?,
            Self::Reachable(at) => {
                let mut addresses = reachables(&text).ok_or_else(refused)?;
                *at(config) = addresses.pop();
                if !addresses.is_empty() {
                    return Err(refused());
                }
            }
            Self::Reachables(at) => *at(config) = reachables(&text).ok_or_else(refused)?,
            Self::Switch(at) => *at(config) = switch::parse(&text).ok_or_else(refused)?,
            Self::Choice(at) => {
                if !at(config).choose(&text) {
                    return Err(refused());
                }
            }
            Self::Count { at, min, max, .. } => {
                let count = number::parse(&text).filter(|count| (min..=max).contains(&count));
                if !at(config).set(count.ok_or_else(refused)?) {
                    return Err(refused());
                }
            }
            Self::Bytes { at, min, max } => {
                let bytes = size::parse(&text).filter(|bytes| (min..=max).contains(&bytes));
                *at(config) = bytes.ok_or_else(refused)?;
            }
            Self::Duration { at, min, max } => {
                let time = duration::parse(&text).filter(|time| (min..=max).contains(&time));
                *at(config) = time.ok_or_else(refused)?;
            }
            Self::Span { at, unit, min, max } => {
                let count = number::parse(&text).filter(|count| (min..=max).contains(&count));
                *at(config) = count
                    .and_then(|count| unit.times(count))
                    .ok_or_else(refused)?;
            }
        }
        Ok(())
    }

    /// The value as a flag would take it.
    pub(super) fn show(&self, config: &mut Config) -> String {
        match self {
            Self::Text(at) => at(config).clone(),
            Self::Path(at) => at(config).display().to_string(),
            Self::Address(at) => at(config).to_string(),
            Self::Reachable(at) => at(config).iter().map(Address::to_string).collect(),
            Self::Reachables(at) => {
                let addresses: Vec<_> = at(config).iter().map(Address::to_string).collect();
                addresses.join(",")
            }
            Self::Switch(at) => at(config).to_string(),
            Self::Choice(at) => at(config).chosen().to_owned(),
            Self::Count { at, .. } => at(config).get().to_string(),
            Self::Bytes { at, .. } => size::show(*at(config)),
            Self::Duration { at, .. } => duration::show(*at(config)),
            Self::Span { at, unit, .. } => {
                (at(config).as_millis() / u128::from(unit.length_ms())).to_string()
            }
        }
    }

    /// The value as the file would hold it.
    pub(super) fn show_toml(&self, config: &mut Config) -> String {
        let text = self.show(config);
        match self {
            Self::Switch(_) | Self::Count { .. } | Self::Span { .. } => text,
            Self::Text(_)
            | Self::Path(_)
            | Self::Address(_)
            | Self::Reachable(_)
            | Self::Reachables(_)
            | Self::Choice(_)
            | Self::Bytes { .. }
            | Self::Duration { .. } => toml::Value::String(text).to_string(),
        }
    }

    /// One word for the type, for the help and the reference.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Path(_) => "path",
            Self::Address(_) | Self::Reachable(_) => "address",
            Self::Reachables(_) => "addresses",
            Self::Switch(_) => "switch",
            Self::Choice(_) => "word",
            Self::Count { .. } => "number",
            Self::Bytes { .. } => "size",
            Self::Duration { .. } => "duration",
            Self::Span { unit, .. } => unit.name(),
        }
    }

    /// What the value may be, to complete "takes …".
    pub(super) fn takes(&self) -> String {
        match self {
            Self::Text(_) => "a text".to_owned(),
            Self::Path(_) => "a path".to_owned(),
            Self::Address(_) => "an address such as :9000 or 127.0.0.1:9000".to_owned(),
            Self::Reachable(_) => "an address with a host, such as db1:9000, or nothing".to_owned(),
            Self::Reachables(_) => {
                "addresses with hosts, separated by commas, such as db1:7947,db2:7947".to_owned()
            }
            Self::Switch(_) => "true or false".to_owned(),
            Self::Choice(at) => {
                let words = at(&mut Config::default()).choices();
                format!("one of {}", words.join(", "))
            }
            Self::Count { of, min, max, .. } => {
                let of = match *of {
                    "" => String::new(),
                    of => format!(" of {of}"),
                };
                format!("a whole number{of} from {min} to {max}")
            }
            Self::Bytes { min, max, .. } => format!(
                "a size from {} to {}, in bytes or with a suffix such as 512MiB",
                size::show(*min),
                size::show(*max)
            ),
            Self::Duration { min, max, .. } => format!(
                "a duration from {} to {} with its unit, such as 1m30s or 100ms",
                duration::show(*min),
                duration::show(*max)
            ),
            Self::Span { unit, min, max, .. } => {
                format!("a whole number of {} from {min} to {max}", unit.name())
            }
        }
    }

    /// The value's text if the file holds it in the right TOML type.
    fn text_of(&self, value: &DeValue<'_>) -> Option<String> {
        match self {
            Self::Text(_)
            | Self::Path(_)
            | Self::Address(_)
            | Self::Reachable(_)
            | Self::Reachables(_)
            | Self::Choice(_)
            | Self::Duration { .. } => value.as_str().map(str::to_owned),
            Self::Switch(_) => value.as_bool().map(|on| on.to_string()),
            Self::Count { .. } | Self::Span { .. } => integer(value),
            Self::Bytes { .. } => integer(value).or_else(|| value.as_str().map(str::to_owned)),
        }
    }
}

/// Addresses that somebody else can connect to.
fn reachables(text: &str) -> Option<Vec<Address>> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let address: Address = part.parse().ok()?;
            (!address.is_wildcard() && address.port != 0).then_some(address)
        })
        .collect()
}

fn integer(value: &DeValue<'_>) -> Option<String> {
    let integer = value.as_integer()?;
    let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok()?;
    Some(number.to_string())
}

fn kind_of(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text {}", quoted(text)),
        DeValue::Integer(_) => "a number".to_owned(),
        DeValue::Float(_) => "a number with a fraction".to_owned(),
        DeValue::Boolean(on) => format!("{on}"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// An unsigned number of any width.
pub trait Whole {
    /// The value.
    fn get(&self) -> u64;
    /// Stores the value; `false` if it does not fit.
    fn set(&mut self, value: u64) -> bool;
}

macro_rules! whole {
    ($($number:ty),*) => {$(
        impl Whole for $number {
            fn get(&self) -> u64 {
                *self as u64
            }
            fn set(&mut self, value: u64) -> bool {
                <$number>::try_from(value).map(|value| *self = value).is_ok()
            }
        }
    )*};
}
whole!(u32, u64, usize);

/// A value that is one of a few words.
pub trait Choice {
    /// The words.
    fn choices(&self) -> &'static [&'static str];
    /// The word of the value.
    fn chosen(&self) -> &'static str;
    /// Takes the value of a word; `false` if there is no such word.
    fn choose(&mut self, word: &str) -> bool;
}

impl Choice for FsyncMode {
    fn choices(&self) -> &'static [&'static str] {
        &["every_event", "batch", "periodic"]
    }

    fn chosen(&self) -> &'static str {
        match self {
            Self::EveryEvent => "every_event",
            Self::Batch => "batch",
            Self::Periodic => "periodic",
        }
    }

    fn choose(&mut self, word: &str) -> bool {
        word.parse().map(|mode| *self = mode).is_ok()
    }
}

impl Choice for LogFormat {
    fn choices(&self) -> &'static [&'static str] {
        &["text", "json"]
    }

    fn chosen(&self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    fn choose(&mut self, word: &str) -> bool {
        *self = match word {
            "text" => Self::Text,
            "json" => Self::Json,
            _ => return false,
        };
        true
    }
}
