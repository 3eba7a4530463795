//! I/O ports, and accesses that only x86 can make.

use hv_core::{
    arch::X86_64,
    hypervisor::{Exit, Hypervisor, Vcpu, Vm},
};

use super::image;
use crate::{
    Case, Needs, Program,
    rig::{Rig, report},
};

pub(super) fn cases<H: Hypervisor + 'static>() -> Vec<Case>
where
    H::Vm: Vm<Arch = X86_64>,
{
    vec![
        Case::new("ports_of_each_width", Needs::Little, widths::<H>),
        Case::new("string_instructions_are_one_access_for_each_element", Needs::Little, strings::<H>),
        Case::new("a_load_across_pages_is_put_together", Needs::Little, across_pages::<H>),
    ]
}

fn machine<H: Hypervisor>() -> (Rig<H>, <H::Vm as Vm>::Vcpu)
where
    H::Vm: Vm<Arch = X86_64>,
{
    let rig = Rig::<H>::new(1);
    let mut vcpu = rig.vm.create_vcpu(0).unwrap();
    rig.enter(&mut vcpu, image!("ports"), 0);
    (rig, vcpu)
}

/// Passes `OUT` and `IN` of each width; the program reports what it read.
fn pass_widths(vcpu: &mut impl Vcpu) {
    for data in [&[0x11_u8][..], &[0x21, 0x22], &[0x41, 0x42, 0x43, 0x44]] {
        assert_eq!(vcpu.run().unwrap(), Exit::PioWrite { port: 0x10, data });
    }
    for data in [&[0xf1_u8][..], &[0xf1, 0xf2], &[0xf1, 0xf2, 0xf3, 0xf4]] {
        input(vcpu, 0x10, data);
    }
    assert_eq!([report(vcpu), report(vcpu), report(vcpu)], [0xf1, 0xf2f1, 0xf4f3_f2f1]);
}

fn input(vcpu: &mut impl Vcpu, port: u16, answer: &[u8]) {
    match vcpu.run().unwrap() {
        Exit::PioRead { port: from, data } if from == port => data.copy_from_slice(answer),
        other => panic!("instead of a read of port {port:#x}: {other:x?}"),
    }
}

fn widths<H: Hypervisor>()
where
    H::Vm: Vm<Arch = X86_64>,
{
    let (_rig, mut vcpu) = machine::<H>();
    pass_widths(&mut vcpu);
}

fn strings<H: Hypervisor>()
where
    H::Vm: Vm<Arch = X86_64>,
{
    let (_rig, mut vcpu) = machine::<H>();
    pass_widths(&mut vcpu);
    for data in [&b"a"[..], b"b", b"c", b"ab", b"cd", b"ef", b"abcd", b"efgh"] {
        assert_eq!(vcpu.run().unwrap(), Exit::PioWrite { port: 0x11, data });
    }
    for data in [&b"1"[..], b"2", b"3", b"12", b"34", b"56", b"1234", b"5678"] {
        input(&mut vcpu, 0x11, data);
    }
    let expected = [*b"123\0\0\0\0\0", *b"123456\0\0", *b"12345678"];
    for bytes in expected {
        assert_eq!(report(&mut vcpu).to_le_bytes(), bytes);
    }
}

/// Each piece is of a size that devices know, and has its place in the value.
fn across_pages<H: Hypervisor>()
where
    H::Vm: Vm<Arch = X86_64>,
{
    const ADDRESS: u64 = 0xd000_2ffd;
    let (_rig, mut vcpu) = Rig::<H>::with(Program::Load, ADDRESS);
    let mut at = ADDRESS;
    while at < ADDRESS + 8 {
        match vcpu.run().unwrap() {
            Exit::MmioRead { address, data } if address == at => {
                assert!([1, 2, 4, 8].contains(&data.len()), "{}", data.len());
                for byte in data {
                    *byte = at.to_le_bytes()[0];
                    at += 1;
                }
            }
            other => panic!("at {at:#x}: {other:x?}"),
        }
    }
    assert_eq!(report(&mut vcpu).to_le_bytes(), [0xfd, 0xfe, 0xff, 0x00, 0x01, 0x02, 0x03, 0x04]);
}
