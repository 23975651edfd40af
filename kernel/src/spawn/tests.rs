//! What a program finds where it is put.

use super::*;
use crate::elf::tests::{DATA, ENTRY, program};
use crate::no_memory::World;

/// The image's own addresses in the image are moved with it, and nothing else is; the parts are
/// where they were to be, with nothing around the stack.
#[test]
fn a_program_is_where_its_places_are() {
    let text = "with arguments";
    for places in [0, 1, 0xffff, 0x1_2345_6789, 0xfedc_ba98_7654_3210, u64::MAX]
        .map(Places::random)
        .into_iter()
        .chain([Places::FIXED])
    {
        let mut world = World::new();
        let World { table, ramdisk, .. } = &mut world;
        let child = table.spawn(ramdisk, "bin/child", text, None, places);
        let child = child.expect("memory");
        let process = table.get(child).expect("alive");
        let space = process.space.as_ref().expect("alive");
        let read = |at: u64| {
            let mut word = [0; 8];
            let read = table.machine().read(space, at, &mut word);
            read.map(|()| u64::from_le_bytes(word))
        };
        let is_there = |at: u64| space.user_page(at, false).is_some();

        let data = places.image + DATA;
        let linked = |index: usize| {
            let program = program();
            let parsed = Program::parse(&program).expect("a program");
            let data = parsed.segments()[2].data;
            u64::from_le_bytes(data[index * 8..][..8].try_into().expect("a word"))
        };
        for (index, added) in [places.image, 0, places.image, 0].into_iter().enumerate() {
            let expected = linked(index).wrapping_add(added);
            assert_eq!(read(data + index as u64 * 8), Ok(expected), "word {index}");
        }
        assert_eq!(process.registers.rip, places.image + ENTRY);
        assert!(is_there(process.registers.rip));

        let end = places.stack_end;
        assert_eq!(process.registers.rdi, end - text.len() as u64);
        let mut there = [0; 14];
        let arguments = table
            .machine()
            .read(space, process.registers.rdi, &mut there);
        assert_eq!((arguments, &there[..]), (Ok(()), text.as_bytes()));
        assert!((end - STACK_SIZE..end).step_by(4096).all(is_there));
        let around = (end - 2 * STACK_SIZE..end - STACK_SIZE).chain(end..end + STACK_SIZE);
        assert!(!around.step_by(4096).any(is_there));

        assert_eq!(process.heap_end, places.heap);
        assert!(!is_there(places.heap));
        assert_eq!(table.grow_heap(child, 1), Ok(places.heap));
        let space = table.get(child).and_then(|child| child.space.as_ref());
        let heap = space.and_then(|space| space.user_page(places.heap, true));
        assert!(heap.is_some());
    }
}
