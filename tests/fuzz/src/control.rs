//! What a client, or a server that is none, says on a control socket.

use hv_control::{Answer, LINE_LIMIT, Lines, Request};

/// Reads the bytes as lines, and each line as a request and as an answer.
///
/// What is understood is written as a line that is understood the same way; what is not is told in one line.
///
/// # Panics
/// One of these is not so.
pub fn control(data: &[u8]) {
    let mut lines = Lines::new(data);
    let mut read = 0;
    while let Ok(Some(line)) = lines.next_line() {
        assert!(line.len() < LINE_LIMIT && !line.contains(&b'\n'));
        assert_eq!(data.get(read..read + line.len()), Some(line.as_slice()), "lines are what was said");
        read += line.len() + 1;
        match Request::parse(&line) {
            Ok(request) => assert_eq!(Request::parse(&request.to_line()), Ok(request)),
            Err(told) => assert!(!told.contains('\n') && told.len() < 1024, "{told}"),
        }
        match Answer::parse(&line) {
            Ok(answer) => {
                let written = answer.to_line();
                assert!(
                    written.len() <= LINE_LIMIT && written.iter().filter(|byte| **byte == b'\n').count() == 1
                );
                assert!(Answer::parse(&written).is_ok());
            }
            Err(told) => assert!(!told.contains('\n') && told.len() < 1024, "{told}"),
        }
    }
    let (rest, waiting) = lines.into_parts();
    assert_eq!(read + waiting.len() + rest.len(), data.len(), "nothing is lost");
}
