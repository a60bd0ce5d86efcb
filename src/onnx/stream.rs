//! A file read once from front to back, as protobuf wants its bytes.

use std::io::{self, Read};

use prost::bytes::Buf;

const BUFFER: usize = 256 << 10;

/// The bytes of a source whose length is known, of which only a buffer is held.
///
/// [`Buf`] has no way to report a failed read, so what could not be read is handed out as zeros, and
/// [`Stream::finish`] tells.
pub(super) struct Stream<R> {
    source: R,
    buffer: Vec<u8>,
    at: usize,
    /// Bytes of the source that are not in the buffer yet.
    left: usize,
    error: Option<io::Error>,
}

impl<R: Read> Stream<R> {
    /// Over the next `length` bytes of `source`.
    pub fn new(source: R, length: usize) -> Self {
        let mut stream =
            Stream { source, buffer: vec![0; BUFFER.min(length)], at: 0, left: length, error: None };
        stream.refill();
        stream
    }

    fn refill(&mut self) {
        self.buffer.truncate(self.left);
        self.left -= self.buffer.len();
        self.at = 0;
        if self.error.is_none() {
            self.error = self.source.read_exact(&mut self.buffer).err();
        }
        if self.error.is_some() {
            self.buffer.fill(0);
        }
    }

    /// The first read that failed.
    pub fn finish(self) -> io::Result<()> {
        self.error.map_or(Ok(()), Err)
    }
}

impl<R: Read> Buf for Stream<R> {
    fn remaining(&self) -> usize {
        self.buffer.len() - self.at + self.left
    }

    fn chunk(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    fn advance(&mut self, mut count: usize) {
        loop {
            let here = count.min(self.buffer.len() - self.at);
            self.at += here;
            count -= here;
            if self.at < self.buffer.len() || self.left == 0 {
                break;
            }
            self.refill();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_in_order_across_refills_and_skips() {
        let source: Vec<u8> = (0..3 * BUFFER + 17).map(|i| (i % 251) as u8).collect();
        let mut stream = Stream::new(&source[..], source.len());
        let mut copy = vec![0; BUFFER + 5];
        stream.copy_to_slice(&mut copy);
        assert_eq!(copy, source[..BUFFER + 5]);
        stream.advance(BUFFER + 3);
        assert_eq!(stream.remaining(), BUFFER + 9);
        let mut rest = vec![0; stream.remaining()];
        stream.copy_to_slice(&mut rest);
        assert_eq!(rest, source[2 * BUFFER + 8..]);
        assert!(!stream.has_remaining());
        stream.finish().unwrap();
    }

    #[test]
    fn a_source_shorter_than_announced_is_an_error() {
        let mut stream = Stream::new(&[1u8, 2, 3][..], 5);
        stream.advance(5);
        assert!(stream.finish().is_err());
    }
}
