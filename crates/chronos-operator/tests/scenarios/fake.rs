//! A database that is made of what the stage says: a node per ready pod.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use chronos_operator::build::Names;
use chronos_operator::database::{Database, Databases, Error, Status, Topic, TopicSettings, Way};
use chronos_operator::plan::{Drain, Node};

/// What the database holds.
#[derive(Default)]
pub struct State {
    pub founded: bool,
    pub silent: bool,
    pub nodes: BTreeMap<String, Node>,
    pub topics: BTreeMap<String, Topic>,
    /// Names of nodes that were removed: their disks are refused.
    pub removed: BTreeSet<String>,
    /// Copies that it was made with, if not three.
    pub copies: Option<u32>,
    /// How it is reached.
    pub way: Option<Way>,
    /// What was asked for, in order.
    pub calls: Vec<String>,
    next: u64,
}

impl State {
    /// A pod of this name is ready.
    pub fn join(&mut self, name: &str) {
        self.next += 1;
        let number = self.next;
        let first = self.nodes.is_empty();
        let node = self.nodes.entry(name.to_owned()).or_insert_with(|| Node {
            number,
            catalog_leader: first,
            ..Node::default()
        });
        node.alive = true;
        node.caught_up = true;
        node.can_stop = true;
        if node.drain == Drain::None {
            node.leaders = 5;
            node.replicas = 16;
            node.catalog_voter = true;
        }
    }
}

/// One database for the cluster of a test.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<State>>);

impl Fake {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn call(&self, what: String) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = self.state();
        if state.silent {
            return Err(Error::Silent("told to be".to_owned()));
        }
        state.calls.push(what);
        Ok(state)
    }
}

impl Databases for Fake {
    fn of(&self, _: &Names, way: Way) -> Arc<dyn Database> {
        self.state().way = Some(way);
        Arc::new(self.clone())
    }

    fn known(&self, _: &Names) -> Option<Arc<dyn Database>> {
        let known = self.state().way.is_some();
        known.then(|| Arc::new(self.clone()) as Arc<dyn Database>)
    }

    fn forget(&self, _: &Names) {}
}

#[async_trait]
impl Database for Fake {
    async fn status(&self) -> Result<Status, Error> {
        let state = self.state();
        if state.silent || !state.founded {
            return Err(Error::Silent(
                "not founded, or told to be silent".to_owned(),
            ));
        }
        Ok(Status {
            cluster_id: "ab".repeat(16),
            replication_factor: state.copies.unwrap_or(3),
            nodes: state.nodes.clone().into_iter().collect(),
            ..Status::default()
        })
    }

    /// Work moves at once.
    async fn drain(&self, node: &str, scope: Drain) -> Result<(), Error> {
        let mut state = self.call(format!("drain {node} {scope:?}"))?;
        let drained = state.nodes.get_mut(node).unwrap();
        drained.drain = scope;
        drained.leaders = 0;
        drained.catalog_leader = false;
        if scope == Drain::Replicas {
            drained.replicas = 0;
            drained.catalog_voter = false;
        }
        Ok(())
    }

    async fn undrain(&self, node: &str) -> Result<(), Error> {
        let mut state = self.call(format!("undrain {node}"))?;
        state.nodes.get_mut(node).unwrap().drain = Drain::None;
        Ok(())
    }

    async fn remove(&self, node: &str, _: u64, lost: bool) -> Result<(), Error> {
        let mut state = self.call(format!("remove {node}"))?;
        let holds = state.nodes.get(node).is_some_and(|node| node.replicas > 0);
        if holds && !lost {
            return Err(Error::Refused("it holds replicas".to_owned()));
        }
        state.nodes.remove(node);
        state.removed.insert(node.to_owned());
        Ok(())
    }

    async fn set_zone(&self, node: &str, zone: &str) -> Result<(), Error> {
        let mut state = self.call(format!("zone {node} {zone}"))?;
        state.nodes.get_mut(node).unwrap().zone = zone.to_owned();
        Ok(())
    }

    async fn topic(&self, name: &str) -> Result<Option<Topic>, Error> {
        if self.state().silent {
            return Err(Error::Silent("told to be".to_owned()));
        }
        Ok(self.state().topics.get(name).cloned())
    }

    async fn create_topic(&self, name: &str, settings: &TopicSettings) -> Result<(), Error> {
        let mut state = self.call(format!("create {name}"))?;
        if state.topics.contains_key(name) {
            return Err(Error::Refused("it exists".to_owned()));
        }
        let topic = Topic {
            settings: settings.clone(),
            version: 1,
            partitions: vec![0],
            ..Topic::default()
        };
        state.topics.insert(name.to_owned(), topic);
        Ok(())
    }

    async fn alter_topic(
        &self,
        name: &str,
        settings: &TopicSettings,
        clear: &[&str],
    ) -> Result<(), Error> {
        let mut state = self.call(format!("alter {name} clear {clear:?}"))?;
        let topic = state.topics.get_mut(name).unwrap();
        if let Some(retries) = settings.max_retries {
            topic.settings.max_retries = Some(retries);
        }
        if clear.contains(&"max_retries") {
            topic.settings.max_retries = None;
        }
        topic.version += 1;
        Ok(())
    }

    async fn delete_topic(&self, name: &str) -> Result<(), Error> {
        let mut state = self.call(format!("delete {name}"))?;
        state.topics.remove(name);
        Ok(())
    }

    async fn next_fire_ms(&self, _: &str) -> Result<Option<i64>, Error> {
        Ok(None)
    }

    async fn leaders(&self) -> Result<Vec<String>, Error> {
        Ok(vec!["db-0".to_owned()])
    }
}
