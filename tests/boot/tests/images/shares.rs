//! What of the host a guest may use: its disks' limits, its share of the processors, and what is left for others.
//!
//! Times are compared with what a limit allows at most: a slow host only makes them longer.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use hv_boot_tests::{
    images::{Home, SHARED},
    pattern, processor_time,
};

/// `--disk …,bw=2M` and `--disk …,iops=20`: no more in a second, and nothing is lost.
pub(super) fn limited_disks_take_their_time(home: &Home) -> Result<()> {
    const SIZE: u64 = 6 << 20;
    let disks = ["slow", "seldom"].map(|name| home.folder().join(name));
    for disk in &disks {
        fs::File::create(disk)?.set_len(SIZE)?;
    }
    let [slow, seldom] = &disks;
    let slow_words = format!("{},serial=slow,bw=2M", slow.display());
    let seldom_words = format!("{},serial=seldom,iops=20", seldom.display());
    let options = ["-d", "--rm", "--name", "limited", "--disk", &slow_words, "--disk", &seldom_words];
    home.say(&mut home.run_script(&options, "exec sleep 100000"))?.code(0)?;
    let takes = |script: &str, least: Duration| -> Result<()> {
        let find = "disk() { for d in /sys/block/vd*; do [ \"$(cat $d/serial)\" != $1 ] || echo /dev/${d##*/}; done; }; ";
        let start = Instant::now();
        let script = format!("set -e; {find}{script}");
        home.say(&mut home.exec_in("limited", &[], &["sh", "-c", &script]))?.code(0)?;
        let took = start.elapsed();
        ensure!(took >= least, "`{script}` took {took:?}, and its limit allows no less than {least:?}");
        Ok(())
    };
    // Less what may pass at once: a tenth of a second's, and one request.
    let written = pattern(SIZE.div_ceil(7).try_into()?);
    let written = &written[..usize::try_from(SIZE)?];
    let numbers = format!("seq -w {} | head -c {SIZE}", SIZE.div_ceil(7));
    let write = format!("{numbers} | dd of=$(disk slow) bs=256k iflag=fullblock oflag=direct");
    takes(&write, Duration::from_millis(2500))?;
    ensure!(fs::read(slow)? == written, "what the guest wrote is not on the limited disk");
    takes("dd if=$(disk slow) of=/dev/null bs=256k iflag=direct", Duration::from_millis(2500))?;
    let read = "dd if=$(disk seldom) of=/dev/null bs=4k count=60 iflag=direct";
    takes(read, Duration::from_millis(2500))?;
    home.say(&mut home.hv(["rm", "--force", "limited"]))?.code(0)?;
    disks.iter().try_for_each(fs::remove_file)?;
    Ok(())
}

/// Two guests that never rest get about as much as each other, one with a quota no more than that, and one that rests is
/// answered.
pub(super) fn busy_guests_leave_others_their_share(home: &Home) -> Result<()> {
    home.say(&mut home.exec(&[], &["true"])?)?.code(0)?;
    let guests = ["busy", "busier", "bounded"];
    for (name, options) in guests.into_iter().zip([&[][..], &[], &["--cpu-quota", "0.2"]]) {
        let all = [&["-d", "--rm", "--name", name], options].concat();
        home.say(&mut home.run_script(&all, "exec sleep 100000"))?.code(0)?;
    }
    for name in guests {
        let spin = ["sh", "-c", "while :; do :; done"];
        home.say(&mut home.exec_in(name, &["-d"], &spin))?.code(0)?;
    }
    let (start, before) = (Instant::now(), guests.map(|name| used(home, name)));
    while start.elapsed() < Duration::from_secs(6) {
        let said = home.say(&mut home.exec_in(SHARED, &[], &["echo", "here"]))?.code(0)?;
        ensure!(said.text() == "here", "the guest that rests said {:?}", said.text());
        thread::sleep(Duration::from_millis(200));
    }
    let (elapsed, after) = (start.elapsed(), guests.map(|name| used(home, name)));
    let mut taken = [Duration::ZERO; 3];
    for ((taken, before), after) in taken.iter_mut().zip(before).zip(after) {
        *taken = after? - before?;
    }
    let [busy, busier, bounded] = taken;
    // The same share each would be a half of what both have.
    let least = (busy + busier) / 4;
    ensure!(
        busy.min(busier) >= least && !least.is_zero(),
        "two guests had {busy:?} and {busier:?} of processors"
    );
    // Between its fifth and the third that a guest without a quota has of a single processor.
    let most = elapsed * 3 / 10;
    ensure!(bounded <= most, "a guest with a fifth of a processor had {bounded:?} in {elapsed:?}");
    for name in guests {
        home.say(&mut home.hv(["rm", "--force", name]))?.code(0)?;
    }
    Ok(())
}

/// Processor time that a guest's process has used so far.
fn used(home: &Home, name: &str) -> Result<Duration> {
    processor_time(&fs::read_to_string(format!("/proc/{}/stat", home.process(name)?))?)
}
