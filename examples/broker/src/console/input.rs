//! Standard input as lines, whatever comes in.

use std::io::{self, BufRead, Read as _};
use std::thread;

use tokio::sync::mpsc;

use super::line::LineError;

/// A line of text, or why there is none.
pub(super) type Input = Result<String, LineError>;

/// Reads lines on a thread of its own until the end of input; then the channel ends.
///
/// A blocked read of standard input cannot be called off. On a thread it keeps nobody from
/// ending the process, where tokio's own standard input would hold up the runtime's shutdown.
pub(super) fn lines<R: BufRead + Send + 'static>(
    mut input: R,
) -> io::Result<mpsc::Receiver<Input>> {
    let (sender, receiver) = mpsc::channel(1);
    thread::Builder::new().name("console".to_owned()).spawn(move || {
        loop {
            let line = match next(&mut input) {
                Ok(Some(line)) => line,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "the console's input ended");
                    return;
                }
            };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// One line without its end, `None` at the end of input. What exceeds the limit is passed over,
/// so a line of any length costs the same memory.
fn next(input: &mut impl BufRead) -> io::Result<Option<Input>> {
    let mut line = Vec::new();
    let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX).saturating_add(1);
    if input.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > MAX_LINE {
        input.skip_until(b'\n')?;
        return Ok(Some(Err(LineError::TooLong { limit: MAX_LINE })));
    }
    Ok(Some(String::from_utf8(line).map_err(|_| LineError::NotUtf8)))
}

/// Room for the largest `SniConfig`, which has 1 MiB, and what stands around it.
const MAX_LINE: usize = 1024 * 1024 + 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<Input> {
        let mut input = bytes;
        std::iter::from_fn(|| next(&mut input).unwrap()).collect()
    }

    #[test]
    fn bad_lines_end_nothing() {
        let mut bytes = vec![b'x'; MAX_LINE + 5_000];
        bytes.extend(b"\n\xff\xfe\nhelp\r\n\nlast");
        assert_eq!(
            all(&bytes),
            [
                Err(LineError::TooLong { limit: MAX_LINE }),
                Err(LineError::NotUtf8),
                Ok("help\r".to_owned()),
                Ok(String::new()),
                Ok("last".to_owned()),
            ]
        );
    }

    #[test]
    fn the_longest_line_is_taken() {
        for end in ["", "\n"] {
            let line = "x".repeat(MAX_LINE);
            assert_eq!(all(format!("{line}{end}").as_bytes()), [Ok(line)]);
        }
    }
}
