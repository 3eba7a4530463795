//! Resident memory of the VMM beyond the guest's RAM, one vCPU and 256 MiB.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result};

use crate::{
    Figures,
    boot::{BenchGuest, LINE},
    time_to_line,
};

/// RAM of the guests whose memory is looked at.
pub(crate) const GUEST_KIB: u64 = 256 << 10;

pub(crate) fn measure(runs: usize) -> Result<()> {
    let guest = BenchGuest::new()?;
    let (mut ours, mut theirs) = (Figures::default(), Figures::default());
    for _ in 0..runs {
        let append = "quiet hv.then=wait";
        for (command, figures) in [(guest.hv(append)?, &mut ours), (guest.qemu(append), &mut theirs)] {
            let (mut child, _) = time_to_line(command, LINE)?;
            thread::sleep(Duration::from_secs(1));
            figures.push(beyond_guest(child.id(), GUEST_KIB)?);
            child.kill()?;
            child.wait()?;
        }
    }
    println!("| resident memory beyond guest RAM | hv | QEMU microvm |");
    println!("| --- | --- | --- |");
    println!("| 1 vCPU, 256 MiB | {:.1} MiB | {:.1} MiB |", ours.median(), theirs.median());
    Ok(())
}

/// MiB resident in every mapping but guest RAM, of `guest_kib`: the smallest mapping that it fits in. Emulators have larger ones.
pub(crate) fn beyond_guest(pid: u32, guest_kib: u64) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let (mut total, mut guest) = (0, None::<(u64, u64)>);
    let (mut size, mut rss) = (0, 0);
    for line in text.lines() {
        let number = |line: &str| line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
        if line.starts_with("Size:") {
            size = number(line).context("Size without a number")?;
        } else if line.starts_with("Rss:") {
            rss = number(line).context("Rss without a number")?;
            total += rss;
        } else if line.starts_with("VmFlags:")
            && size >= guest_kib
            && guest.is_none_or(|(least, _)| size < least)
        {
            guest = Some((size, rss));
        }
    }
    let (_, guest) = guest.context("no mapping is as large as the guest's RAM")?;
    Ok((total - guest) as f64 / 1024.0)
}
