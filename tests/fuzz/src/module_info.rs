//! What modules say of themselves.

use hv_kernels::module_info;

use crate::Input;

/// The bytes are a module, or the `.modinfo` section of one.
///
/// # Panics
/// A name is not as the kernel has it, or there are more names than bytes for them.
pub fn module_info(data: &[u8]) {
    let mut input = Input::new(data);
    let bytes =
        if input.u8() < 0x80 { input.bytes(data.len()).to_vec() } else { module(input.bytes(data.len())) };
    let Ok(info) = module_info::parse(&bytes) else { return };
    let names = [&info.depends, &info.soft_before, &info.soft_after, &info.aliases];
    let names: Vec<_> = names.into_iter().flatten().collect();
    assert!(names.len() <= bytes.len() && names.iter().all(|name| !name.is_empty() && !name.contains('-')));
    assert!(info.aliases.iter().all(|alias| !alias.contains(['*', '?', '['])));
    assert_eq!(module_info::parse(&bytes).ok(), Some(info));
}

/// An ELF file with this `.modinfo` section.
fn module(info: &[u8]) -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(64, 0);
    elf[18] = 62;
    elf[40] = 64;
    elf[58..64].copy_from_slice(&[64, 0, 2, 0, 1, 0]);
    for (name, offset, size) in [(1, 192 + 16, info.len()), (0, 192, 16)] {
        let mut header = vec![0; 64];
        header[0] = name;
        header[24..32].copy_from_slice(&u64::to_le_bytes(offset));
        header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
        elf.extend(header);
    }
    elf.extend(b"\0.modinfo\0\0\0\0\0\0\0");
    elf.extend(info);
    elf
}
