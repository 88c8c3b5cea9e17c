//! Data directories that cannot be used stop a node before it says anything.

use super::scene::{Catalogs, Place, Running, config, found, places, seeds, soon};
use chronos_node::cluster::cluster_file::{FILE, FileError, UNFINISHED_FILE};
use chronos_node::cluster::introductions::IntroductionError;
use chronos_node::cluster::{Dialer, Introductions, Ports};
use chronos_node::data_dir::{DataDir, Identity, Request};

fn open(place: &Place) -> Result<(), IntroductionError> {
    let data_dir = DataDir::open(&Request {
        path: place.dir.path().to_owned(),
        node_id: Some(place.name.clone()),
        partition_count: None,
    });
    let data_dir = data_dir.unwrap();
    open_as(place, data_dir.identity())
}

fn open_as(place: &Place, identity: &Identity) -> Result<(), IntroductionError> {
    let ports = Ports {
        cluster: 1,
        grpc: 2,
        http: 3,
    };
    Introductions::open(
        &config(&[]),
        identity,
        place.dir.path(),
        Dialer::default(),
        ports,
    )
    .map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_damaged_cut_or_copied_is_refused() {
    let (places, catalogs) = (places(2).await, Catalogs::default());
    let (nodes, _) = found(&places, &catalogs).await;
    for node in nodes {
        node.kill().await;
    }
    let path = |at: usize| places[at].dir.path().join(FILE);
    let text = std::fs::read_to_string(path(0)).unwrap();
    open(&places[0]).unwrap();
    for bad in ["", "format = 1", &text[..text.len() / 2], "\0\0\0\0"] {
        std::fs::write(path(0), bad).unwrap();
        let error = open(&places[0]).unwrap_err();
        assert!(
            matches!(error, IntroductionError::File(FileError::Damaged { .. })),
            "{error}"
        );
        assert!(error.to_string().contains("restore it"), "{error}");
    }
    std::fs::copy(path(1), path(0)).unwrap();
    let error = open(&places[0]).unwrap_err();
    assert!(
        matches!(error, IntroductionError::File(FileError::OtherDisk { .. })),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_a_node_that_stands_alone_is_not_taken_into_a_cluster() {
    let place = Place::new("n0").await;
    open(&place).unwrap();
    std::fs::create_dir(place.dir.path().join("partitions")).unwrap();
    assert!(matches!(
        open(&place),
        Err(IntroductionError::StandsAlone { .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_that_is_none_is_refused() {
    let place = Place::new("n0").await;
    let identity = Identity {
        format: 1,
        node_id: "n0".into(),
        cluster_id: "x".into(),
        partition_count: 1,
        created_ms: 0,
    };
    assert!(matches!(
        open_as(&place, &identity),
        Err(IntroductionError::NoDisk { .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_cannot_be_written_stops_the_node() {
    let (places, catalogs) = (places(1).await, Catalogs::default());
    open(&places[0]).unwrap();
    // A folder where the file is to be written.
    std::fs::create_dir(places[0].dir.path().join(UNFINISHED_FILE)).unwrap();
    let config = config(&seeds(&places));
    let mut node = Running::start(&places[0], &config, &catalogs).await;
    let obtaining = node.obtaining.take().unwrap();
    let error = soon("the refusal", obtaining).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("cannot write"), "{error}");
    assert!(catalogs.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_cannot_be_written_when_another_node_calls_stops_the_node() {
    let (places, catalogs) = (places(2).await, Catalogs::default());
    open(&places[1]).unwrap();
    std::fs::create_dir(places[1].dir.path().join(UNFINISHED_FILE)).unwrap();
    let config = config(&seeds(&places));
    let _founder = Running::start(&places[0], &config, &catalogs).await;
    let mut node = Running::start(&places[1], &config, &catalogs).await;
    let obtaining = node.obtaining.take().unwrap();
    let error = soon("the refusal", obtaining).await.unwrap().unwrap_err();
    assert!(
        error.to_string().contains("start the node again"),
        "{error}"
    );
    assert!(catalogs.lock().unwrap().is_empty());
}
