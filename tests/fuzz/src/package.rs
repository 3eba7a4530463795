//! Reads packages as the import of kernels does, and checks what it is told of their files.

use std::io::Read;

use hv_kernels::archive::Visit;

type Reader = fn(&mut dyn Read, &mut Visit<'_>) -> anyhow::Result<()>;

/// Bytes of the longest name that is told.
const MOST_NAME: usize = 64 << 10;

/// Reads `package` to its end or to an error, twice: all of each file, and the first byte of each.
///
/// # Panics
/// A file is longer than its size says, a name has no bound, or the files are others the second time.
pub(crate) fn check(package: &[u8], read: Reader) {
    let mut first = Vec::new();
    let whole = read(&mut &*package, &mut |name, size, content| {
        assert!(name.len() <= MOST_NAME, "a name of {} bytes", name.len());
        // What is said is no reason to allocate: a package unpacks to as much as it has.
        let count = std::io::copy(content, &mut std::io::sink());
        let count = count.unwrap_or(0);
        assert!(count <= size, "{count} bytes of {size}");
        first.push((name.to_vec(), size));
        Ok(())
    });
    let mut second = Vec::new();
    let again = read(&mut &*package, &mut |name, size, content| {
        drop(content.read(&mut [0]));
        second.push((name.to_vec(), size));
        Ok(())
    });
    assert_eq!(whole.is_ok(), again.is_ok(), "{whole:?}, and then {again:?}");
    assert!(whole.is_err() || first == second, "other files the second time");
}
