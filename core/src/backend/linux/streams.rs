//! Keeping the beginning and the end of an output stream, and never more.

use crate::StreamOutput;

/// What is kept of one stream: all of it up to the limit, then its head and, in a ring, its tail.
///
/// Never holds more bytes than its limit.
#[derive(Debug)]
pub(super) struct Capture {
    /// The head; from `head_limit` on the ring of the tail.
    bytes: Vec<u8>,
    limit: usize,
    head_limit: usize,
    /// Where in `bytes` the oldest byte of a full ring is.
    oldest: usize,
    dropped: u64,
}

impl Capture {
    pub(super) fn new(limit: usize) -> Self {
        let head_limit = limit.div_ceil(2);
        Capture { bytes: Vec::new(), limit, head_limit, oldest: head_limit, dropped: 0 }
    }

    /// Takes more of the stream.
    pub(super) fn push(&mut self, mut more: &[u8]) {
        let room = self.limit - self.bytes.len();
        if room > 0 {
            let fits = more.len().min(room);
            self.reserve(fits);
            self.bytes.extend_from_slice(&more[..fits]);
            more = &more[fits..];
        }
        self.dropped += more.len() as u64;
        let ring = self.limit - self.head_limit;
        // Of what is longer than the ring only the end survives; skipping the rest moves the ring's start.
        if ring > 0 && more.len() > ring {
            let skipped = more.len() - ring;
            self.oldest = self.head_limit + (self.oldest - self.head_limit + skipped) % ring;
            more = &more[skipped..];
        }
        while ring > 0 && !more.is_empty() {
            let part = more.len().min(self.limit - self.oldest);
            self.bytes[self.oldest..self.oldest + part].copy_from_slice(&more[..part]);
            self.oldest += part;
            if self.oldest == self.limit {
                self.oldest = self.head_limit;
            }
            more = &more[part..];
        }
    }

    /// Whether more came than is kept.
    pub(super) fn overflowed(&self) -> bool {
        self.dropped > 0
    }

    /// Takes out up to `buffer.len()` bytes from the beginning of what is kept.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> usize {
        if self.bytes.is_empty() {
            return 0;
        }
        self.straighten();
        let length = buffer.len().min(self.bytes.len());
        buffer[..length].copy_from_slice(&self.bytes[..length]);
        self.bytes.drain(..length);
        // What is left is a stream of its own again; what was dropped stays counted.
        self.oldest = self.head_limit;
        length
    }

    /// What was kept.
    pub(super) fn finish(mut self) -> StreamOutput {
        self.straighten();
        let head = if self.dropped > 0 { self.head_limit.min(self.bytes.len()) } else { self.bytes.len() };
        StreamOutput { bytes: self.bytes, head, dropped: self.dropped }
    }

    /// Puts the tail in order.
    fn straighten(&mut self) {
        if self.dropped > 0 && self.oldest > self.head_limit && self.bytes.len() == self.limit {
            self.bytes[self.head_limit..].rotate_left(self.oldest - self.head_limit);
            self.oldest = self.head_limit;
        }
    }

    /// Grows by doubling, but never beyond the limit.
    fn reserve(&mut self, more: usize) {
        let needed = self.bytes.len() + more;
        if needed > self.bytes.capacity() {
            let capacity = needed.max(self.bytes.capacity() * 2).min(self.limit);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What head and tail of a whole stream must be.
    fn expected(all: &[u8], limit: usize) -> StreamOutput {
        if all.len() <= limit {
            return StreamOutput { bytes: all.to_vec(), head: all.len(), dropped: 0 };
        }
        let head = limit.div_ceil(2);
        let mut bytes = all[..head].to_vec();
        bytes.extend_from_slice(&all[all.len() - (limit - head)..]);
        StreamOutput { bytes, head, dropped: (all.len() - limit) as u64 }
    }

    #[test]
    fn head_and_tail_are_right_for_every_limit_length_and_piece() {
        let all: Vec<u8> = (0..200u8).collect();
        for limit in [0, 1, 2, 3, 7, 8, 64, 199, 200, 201] {
            for length in [0, 1, 2, 3, 8, 9, 63, 65, 128, 200] {
                for piece in [1, 2, 3, 5, 7, 64, 200] {
                    let mut capture = Capture::new(limit);
                    all[..length].chunks(piece).for_each(|part| capture.push(part));
                    assert!(capture.bytes.capacity() <= limit.max(8), "limit {limit}");
                    assert_eq!(capture.overflowed(), length > limit);
                    assert_eq!(
                        capture.finish(),
                        expected(&all[..length], limit),
                        "limit {limit}, length {length}, piece {piece}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_taken_out_makes_room() {
        let mut capture = Capture::new(4);
        capture.push(b"abcdef");
        let mut buffer = [0; 3];
        assert_eq!(capture.take(&mut buffer), 3);
        assert_eq!(&buffer, b"abe");
        capture.push(b"gh");
        assert_eq!(capture.take(&mut buffer), 3);
        assert_eq!(&buffer, b"fgh");
        assert_eq!(capture.take(&mut buffer), 0);
        assert_eq!(capture.finish().dropped, 2);
    }
}
