//! Parts of Kubernetes objects that a resource gives as they are. Their full schema would be thousands of lines of
//! CRD, so the API server takes anything for them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is to become a `T`. It stays as it was written until it is read: Kubernetes lists all resources at once, and
/// one of somebody's that did not fit would hide everybody's.
#[derive(Deserialize, Serialize)]
#[serde(transparent)]
pub struct Given<T> {
    value: Value,
    #[serde(skip)]
    kind: PhantomData<fn() -> T>,
}

/// What is given is no such object.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct Malformed {
    /// The field of the resource.
    pub place: String,
    /// What is wrong with it.
    pub why: String,
}

impl<T: DeserializeOwned + Serialize> Given<T> {
    /// The object. `place` is the field, for the error.
    ///
    /// # Errors
    /// A value has another type, or a field does not exist: it would be left out without a word.
    pub fn read(&self, place: &str) -> Result<T, Malformed> {
        let malformed = |why: String| Malformed {
            place: place.to_owned(),
            why,
        };
        let object: T = serde_json::from_value(self.value.clone())
            .map_err(|error| malformed(error.to_string()))?;
        let kept = serde_json::to_value(&object).map_err(|error| malformed(error.to_string()))?;
        match lost(&self.value, &kept) {
            Some(field) => Err(malformed(format!("there is no field {field}"))),
            None => Ok(object),
        }
    }

    /// The objects of a list.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_all(all: &[Self], place: &str) -> Result<Vec<T>, Malformed> {
        let numbered = all.iter().enumerate();
        numbered
            .map(|(number, given)| given.read(&format!("{place}[{number}]")))
            .collect()
    }
}

/// The first field that is written and not kept. A field of null is one that is left out.
fn lost(written: &Value, kept: &Value) -> Option<String> {
    match (written, kept) {
        (Value::Object(written), Value::Object(kept)) => {
            let mut written = written.iter().filter(|(_, value)| !value.is_null());
            written.find_map(|(key, value)| match kept.get(key) {
                None => Some(key.clone()),
                Some(kept) => lost(value, kept).map(|below| format!("{key}.{below}")),
            })
        }
        (Value::Array(written), Value::Array(kept)) => {
            let mut pairs = written.iter().zip(kept).enumerate();
            pairs.find_map(|(number, (written, kept))| {
                lost(written, kept).map(|below| format!("{number}.{below}"))
            })
        }
        _ => None,
    }
}

impl<T> From<Value> for Given<T> {
    fn from(value: Value) -> Self {
        Self {
            value,
            kind: PhantomData,
        }
    }
}

impl<T> Clone for Given<T> {
    fn clone(&self) -> Self {
        self.value.clone().into()
    }
}

impl<T> PartialEq for Given<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T> fmt::Debug for Given<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Affinity, EnvVar, ResourceRequirements};
    use serde_json::json;

    use super::*;

    fn why<T: DeserializeOwned + Serialize>(value: Value) -> String {
        let read = Given::<T>::from(value).read("pod.x");
        read.err()
            .map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn what_fits_is_read() {
        for fine in [
            json!({ "requests": { "cpu": 2, "memory": "1Gi" } }),
            json!({ "limits": null, "claims": [{ "name": "a" }] }),
            json!({}),
        ] {
            assert_eq!(why::<ResourceRequirements>(fine.clone()), "", "{fine}");
        }
    }

    #[test]
    fn another_type_is_refused_where_it_stands() {
        let all = [json!({ "name": "A" }), json!({ "name": "B", "value": 5 })];
        let refused = Given::<EnvVar>::read_all(&all.map(Given::from), "pod.env").unwrap_err();
        assert_eq!(refused.place, "pod.env[1]");
        assert!(refused.why.contains("expected a string"), "{refused}");
    }

    #[test]
    fn a_field_that_does_not_exist_is_named() {
        let affinity = json!({ "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                { "weight": 1, "preference": { "matchExpression": [] } },
            ],
        } });
        assert_eq!(
            why::<Affinity>(affinity),
            "pod.x: there is no field nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution.0\
             .preference.matchExpression"
        );
        let resources = json!({ "request": { "cpu": 1 } });
        assert_eq!(
            why::<ResourceRequirements>(resources),
            "pod.x: there is no field request"
        );
    }
}
