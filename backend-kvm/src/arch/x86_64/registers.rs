//! A core's registers, between the machine's form and KVM's.

use hv_core::{
    arch::x86_64::{CpuState, DescriptorTable, GeneralRegisters, Segment, Segments},
    hypervisor::{Error, Result},
};
use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment};
use kvm_ioctls::VcpuFd;

pub(crate) fn state(vcpu: &VcpuFd) -> Result<CpuState> {
    let regs = vcpu.get_regs().map_err(|error| Error::new("KVM_GET_REGS", error))?;
    let sregs = vcpu.get_sregs().map_err(|error| Error::new("KVM_GET_SREGS", error))?;
    Ok(CpuState {
        general: general_from_kvm(&regs),
        rip: regs.rip,
        rflags: regs.rflags,
        segments: Segments {
            cs: segment_from_kvm(&sregs.cs),
            ds: segment_from_kvm(&sregs.ds),
            es: segment_from_kvm(&sregs.es),
            fs: segment_from_kvm(&sregs.fs),
            gs: segment_from_kvm(&sregs.gs),
            ss: segment_from_kvm(&sregs.ss),
            tr: segment_from_kvm(&sregs.tr),
            ldt: segment_from_kvm(&sregs.ldt),
        },
        gdt: DescriptorTable { base: sregs.gdt.base, limit: sregs.gdt.limit },
        idt: DescriptorTable { base: sregs.idt.base, limit: sregs.idt.limit },
        cr0: sregs.cr0,
        cr2: sregs.cr2,
        cr3: sregs.cr3,
        cr4: sregs.cr4,
        efer: sregs.efer,
    })
}

pub(crate) fn set_state(vcpu: &VcpuFd, state: &CpuState) -> Result<()> {
    let mut sregs = vcpu.get_sregs().map_err(|error| Error::new("KVM_GET_SREGS", error))?;
    let segments = &state.segments;
    sregs.cs = segment_to_kvm(&segments.cs);
    sregs.ds = segment_to_kvm(&segments.ds);
    sregs.es = segment_to_kvm(&segments.es);
    sregs.fs = segment_to_kvm(&segments.fs);
    sregs.gs = segment_to_kvm(&segments.gs);
    sregs.ss = segment_to_kvm(&segments.ss);
    sregs.tr = segment_to_kvm(&segments.tr);
    sregs.ldt = segment_to_kvm(&segments.ldt);
    sregs.gdt = kvm_dtable { base: state.gdt.base, limit: state.gdt.limit, ..Default::default() };
    sregs.idt = kvm_dtable { base: state.idt.base, limit: state.idt.limit, ..Default::default() };
    sregs.cr0 = state.cr0;
    sregs.cr2 = state.cr2;
    sregs.cr3 = state.cr3;
    sregs.cr4 = state.cr4;
    sregs.efer = state.efer;
    vcpu.set_sregs(&sregs).map_err(|error| Error::new("KVM_SET_SREGS", error))?;
    let regs = general_to_kvm(&state.general, state.rip, state.rflags);
    vcpu.set_regs(&regs).map_err(|error| Error::new("KVM_SET_REGS", error))
}

fn general_from_kvm(regs: &kvm_regs) -> GeneralRegisters {
    let &kvm_regs {
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rsp,
        rbp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip: _,
        rflags: _,
    } = regs;
    GeneralRegisters { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15 }
}

fn general_to_kvm(general: &GeneralRegisters, rip: u64, rflags: u64) -> kvm_regs {
    let &GeneralRegisters { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15 } =
        general;
    kvm_regs { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags }
}

fn segment_from_kvm(segment: &kvm_segment) -> Segment {
    // A segment that cannot be used is one that is not present; what else KVM says of it has no meaning.
    let present = segment.present & !segment.unusable;
    let fields = [
        (segment.type_ & 0xf, 0),
        (segment.s, 4),
        (segment.dpl, 5),
        (present, 7),
        (segment.avl, 12),
        (segment.l, 13),
        (segment.db, 14),
        (segment.g, 15),
    ];
    Segment {
        selector: segment.selector,
        base: segment.base,
        limit: segment.limit,
        attributes: fields.into_iter().fold(0, |bits, (field, shift)| bits | u16::from(field) << shift),
    }
}

fn segment_to_kvm(segment: &Segment) -> kvm_segment {
    let [low, high] = segment.attributes.to_le_bytes();
    kvm_segment {
        base: segment.base,
        limit: segment.limit,
        selector: segment.selector,
        type_: low & 0xf,
        s: low >> 4 & 1,
        dpl: low >> 5 & 3,
        present: low >> 7,
        avl: high >> 4 & 1,
        l: high >> 5 & 1,
        db: high >> 6 & 1,
        g: high >> 7,
        unusable: u8::from(low >> 7 == 0),
        padding: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_survives_the_way_there_and_back() {
        for attributes in [0xa09b, 0xc093, 0x008b, 0x0082, 0x50f3, 0x0010] {
            let segment = Segment { selector: 0x10, base: 0x1234_5000, limit: 0xf_ffff, attributes };
            assert_eq!(segment_from_kvm(&segment_to_kvm(&segment)), segment, "{attributes:#x}");
        }
    }

    #[test]
    fn a_code_segment_has_its_bits_where_the_descriptor_has_them() {
        let code = segment_to_kvm(&Segment { attributes: 0xa09b, ..Default::default() });
        assert_eq!((code.type_, code.s, code.dpl, code.present), (11, 1, 0, 1));
        assert_eq!((code.avl, code.l, code.db, code.g, code.unusable), (0, 1, 0, 1, 0));
        assert_eq!(segment_to_kvm(&Segment::default()).unusable, 1);
    }

    #[test]
    fn a_segment_that_cannot_be_used_is_not_present() {
        let ldt = kvm_segment { type_: 2, present: 1, unusable: 1, ..Default::default() };
        assert_eq!(segment_from_kvm(&ldt).attributes, 2);
    }
}
