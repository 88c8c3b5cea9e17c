//! What is built of files, built again when they change.

use super::Error;
use super::sources::{Contents, Sources};
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How often files are looked at. A change is used when two looks in a row found the same: files that
/// belong together are not written at the same instant.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// Gives the value of the last good files.
pub(crate) type Current<T> = Arc<dyn Fn() -> Arc<T> + Send + Sync>;

type Build<T> = Box<dyn Fn(&Contents) -> Result<T, Error> + Send + Sync>;

/// A value made of files. It is replaced when they change, and stays when the new ones are no good.
pub(crate) struct Reloading<T> {
    sources: Sources,
    build: Build<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    current: Arc<T>,
    /// What was found last.
    found: Result<Contents, Error>,
    /// Whether that has been used or refused.
    is_settled: bool,
}

impl<T> Reloading<T> {
    /// Reads the files and builds the value.
    pub(crate) fn load(
        sources: Sources,
        build: impl Fn(&Contents) -> Result<T, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let found = sources.read()?;
        let state = State {
            current: Arc::new(build(&found)?),
            found: Ok(found),
            is_settled: true,
        };
        Ok(Self {
            sources,
            build: Box::new(build),
            state: Mutex::new(state),
        })
    }

    /// The value of the last good files.
    pub(crate) fn current(&self) -> Arc<T> {
        Arc::clone(&self.state.lock().current)
    }

    /// Looks at the files once.
    pub(crate) fn look(&self) {
        let found = self.sources.read();
        let mut state = self.state.lock();
        if found != state.found {
            state.found = found;
            state.is_settled = false;
            return;
        }
        if std::mem::replace(&mut state.is_settled, true) {
            return;
        }
        let built = match &state.found {
            Ok(contents) => (self.build)(contents),
            Err(error) => Err(error.clone()),
        };
        match built {
            Ok(built) => {
                state.current = Arc::new(built);
                let certificate = self.certificate();
                tracing::info!(certificate, "read the changed certificates");
            }
            Err(error) => {
                tracing::warn!(%error, "the changed certificates are not used; the former ones stay");
            }
        }
    }

    fn certificate(&self) -> String {
        let certificate = self.sources.certificate.as_ref();
        certificate.map_or_else(|| "none".to_owned(), ToString::to_string)
    }
}

impl<T: Send + Sync + 'static> Reloading<T> {
    /// Like [`load`](Self::load), and looks at the files for as long as somebody holds the value. Has to be
    /// called on a runtime.
    pub(crate) fn follow(
        sources: Sources,
        build: impl Fn(&Contents) -> Result<T, Error> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, Error> {
        let has_files = sources.have_files();
        let this = Arc::new(Self::load(sources, build)?);
        if has_files {
            tokio::spawn(look_again(Arc::downgrade(&this)));
        }
        Ok(this)
    }
}

async fn look_again<T: Send + Sync + 'static>(files: Weak<Reloading<T>>) {
    loop {
        tokio::time::sleep(LOOKS_EVERY).await;
        let Some(files) = files.upgrade() else { return };
        // A file system over a network may take its time.
        if let Err(error) = tokio::task::spawn_blocking(move || files.look()).await {
            tracing::error!(%error, "cannot look whether certificates have changed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::Source;
    use std::fs;

    #[test]
    fn a_change_is_used_when_it_has_settled_and_refused_when_it_is_no_good() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let write = |text: &str| fs::write(&file, text).unwrap();
        write("1");
        let sources = Sources {
            ca: Some(Source::file(&file)),
            ..Sources::default()
        };
        let number = Reloading::load(sources, |contents| {
            let pem = &contents.ca.as_ref().unwrap().pem;
            let text = String::from_utf8_lossy(pem);
            text.parse::<u32>()
                .map_err(|error| Error::Setup(error.to_string()))
        });
        let number = number.unwrap();
        number.look();
        assert_eq!(*number.current(), 1);

        write("2");
        number.look();
        assert_eq!(*number.current(), 1, "it may still be changing");
        number.look();
        assert_eq!(*number.current(), 2);

        for bad in ["x", "y"] {
            write(bad);
            number.look();
            number.look();
            assert_eq!(*number.current(), 2);
        }
        fs::remove_file(&file).unwrap();
        number.look();
        number.look();
        assert_eq!(*number.current(), 2);
        write("3");
        number.look();
        number.look();
        assert_eq!(*number.current(), 3);
    }
}
