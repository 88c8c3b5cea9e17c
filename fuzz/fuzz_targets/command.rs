//! Any bytes as the body of a log entry, of a partition and of the catalog.
#![no_main]

use chronos_core::catalog;
use chronos_core::command::create_group::CreateGroup;
use chronos_core::command::publish::Publish;
use chronos_core::command::settle::Settle;
use chronos_core::command::{Batch, Kind};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(command) = catalog::Command::decode(body) {
        assert_eq!(catalog::Command::decode(&command.encode()), Ok(command));
    }
    let Ok(batch) = Batch::decode(body) else {
        return;
    };
    for section in batch.sections() {
        let Ok(section) = section else { return };
        let position = section.position as usize;
        assert_eq!(
            &body[position..position + section.payload.len()],
            section.payload
        );
        match section.kind {
            Kind::Publish => {
                if let Ok(publish) = Publish::decode(section.payload) {
                    for (slot, body) in publish.events().map_while(Result::ok) {
                        assert_eq!(slot.body_len as usize, body.len());
                        assert!(slot.id_of(body).is_some() && slot.topic_of(body).is_some());
                    }
                }
            }
            Kind::Settle => {
                if let Ok(settle) = Settle::decode(section.payload) {
                    assert_eq!(Settle::decode(&settle.encode()), Ok(settle));
                }
            }
            Kind::CreateGroup => {
                if let Ok(create) = CreateGroup::decode(section.payload) {
                    assert_eq!(CreateGroup::decode(&create.encode()), Ok(create));
                }
            }
        }
    }
});
