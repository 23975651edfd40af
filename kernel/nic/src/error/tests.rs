use super::*;
use std::string::ToString;

#[test]
fn an_error_says_what_to_do_and_names_what_it_is_about() {
    let mac = [0x52, 0x54, 0, 0xab, 0xcd, 0xef];
    let start = BusAddr(0xabcd);
    let (needed, found) = (4321, 1234);
    let what = "queues";
    let (registers, eeprom) = (mac, [2, 0, 0, 0, 0, 0xee]);
    for (error, names) in [
        (Error::WouldBlock, "try again"),
        (Error::BadLength { len: 1515 }, "1515"),
        (Error::BufferTooSmall { len: 60 }, "60"),
        (Error::BadBuffer { buffer: 77 }, "77"),
        (
            Error::TooMany { count: 20, max: 16 },
            "16 addresses, not for 20",
        ),
        (Error::BadVlan { vlan: 4095 }, "4095"),
        (Error::BadConfig { what }, what),
        (Error::CommandTimeout { command: 0x10 }, "0x10"),
        (Error::BlockTimeout { command: 4 }, "0x0004"),
        (Error::QueueTimeout { queue: 3 }, "ring 3"),
        (
            Error::BadDescriptor { queue: 3, len: 9 },
            "9 bytes to ring 3",
        ),
        (Error::BadHead { queue: 3, head: 99 }, "99 in ring 3"),
        (Error::EepromChecksum { found: 0x12 }, "0x0012"),
        (
            Error::BadMacAddress { found: mac },
            "[52, 54, 00, ab, cd, ef]",
        ),
        (
            Error::MacMismatch { registers, eeprom },
            "EEPROM's [02, 00, 00, 00, 00, ee]",
        ),
        (
            Error::ArenaTooSmall { needed, found },
            "1234 bytes: allocate 4321",
        ),
        (Error::ArenaUnreachable { start }, "0xabcd"),
        (Error::HostSilent, "driver"),
        (Error::HostReset, "anew"),
        (Error::HostRefused { request: 5 }, "request 5"),
    ] {
        let text = error.to_string();
        assert!(text.contains(names), "{text}");
        assert!(text.contains(": "), "{text}: and what now?");
    }
}
