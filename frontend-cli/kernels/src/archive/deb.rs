//! Debian packages (deb(5)).

use std::io::{self, BufReader, Read};

use anyhow::{Context, Result, ensure};

use super::{MOST_UNPACKED, Visit, ar, tar};
use crate::unpack::{Bounded, unpacked};

/// Calls `visit` for each regular file that the package would install.
///
/// # Errors
/// It is no Debian package of format 2, or damaged, or `visit` failed.
pub fn visit(source: &mut dyn Read, visit: &mut Visit<'_>) -> Result<()> {
    let mut members = 0;
    let mut data = false;
    ar::visit(source, &mut |name, _, content| {
        members += 1;
        if members == 1 {
            let mut version = [0; 2];
            let version = content.read_exact(&mut version).map(|()| version);
            ensure!(
                name == "debian-binary" && version.is_ok_and(|version| &version == b"2."),
                "is no Debian package of format 2"
            );
        }
        // The first one counts, as for dpkg.
        if name.starts_with("data.tar") && !data {
            data = true;
            let files = unpacked(BufReader::with_capacity(1 << 16, content)).context(name.to_owned())?;
            let mut files = Bounded::new(files, MOST_UNPACKED);
            tar::visit(&mut files, visit).context(name.to_owned())?;
            // To the end, for the stream's checksum.
            io::copy(&mut files, &mut io::sink()).context(name.to_owned())?;
        }
        Ok(())
    })?;
    ensure!(data, "is a Debian package without data");
    Ok(())
}
