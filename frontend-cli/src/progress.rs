//! Progress on a terminal: a bar for what takes long, and nothing where standard error is no terminal.

use std::time::Duration;

use hv_images::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a bar is drawn anew.
const PER_SECOND: u8 = 8;
/// How often it moves while no byte comes.
const TICK: Duration = Duration::from_millis(250);

const KNOWN: &str = "{prefix} [{bar:28}] {bytes} of {total_bytes}, {eta} left";
const UNKNOWN: &str = "{prefix} {spinner} {bytes}";

/// One bar at a time.
#[derive(Debug, Default)]
pub(crate) struct Bars(Option<ProgressBar>);

impl Progress for Bars {
    fn begin(&mut self, what: &str, bytes: Option<u64>) {
        self.end();
        // Hidden by itself where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr_with_hz(PER_SECOND));
        let template = if bytes.is_some() { KNOWN } else { UNKNOWN };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(what.chars().filter(|letter| !letter.is_control()).collect::<String>());
        bar.enable_steady_tick(TICK);
        self.0 = Some(bar);
    }

    fn advance(&mut self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.end();
    }
}
