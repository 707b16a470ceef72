//! The first bytes of a file: whose it is and how it is divided.

/// The kind of the file and the version of its form.
const MAGIC: [u8; 8] = *b"MARSSPL1";

/// What stands before the parts of a spilled result, which follow it without gaps.
///
/// It is kept in memory too and what is on disk is only ever compared with it.
#[derive(Debug)]
pub(super) struct Header {
    id: u64,
    lengths: Box<[usize]>,
}

impl Header {
    /// The header of `parts` in the file with the number `id`.
    pub(super) fn new(id: u64, parts: &[&[u8]]) -> Self {
        let lengths = parts.iter().map(|part| part.len()).collect();
        Header { id, lengths }
    }

    /// The number that no other file has.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// How long the parts are.
    pub(super) fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// How long the whole file is.
    pub(super) fn file_length(&self) -> u64 {
        let parts: u64 = self.lengths.iter().map(|&length| length as u64).sum();
        (MAGIC.len() + 8 * (2 + self.lengths.len())) as u64 + parts
    }

    /// As it is in the file: magic, number, count and lengths, little-endian.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let numbers = [self.id, self.lengths.len() as u64].into_iter();
        let lengths = self.lengths.iter().map(|&length| length as u64);
        let numbers = numbers.chain(lengths).flat_map(u64::to_le_bytes);
        MAGIC.into_iter().chain(numbers).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_the_file_is_that_of_the_header_and_the_parts() {
        let parts: [&[u8]; 3] = [b"abc", b"", b"defgh"];
        let header = Header::new(7, &parts);
        assert_eq!(header.lengths(), [3, 0, 5]);
        assert_eq!(header.bytes().len(), 8 * 6);
        assert_eq!(header.file_length(), 8 * 6 + 8);
        assert_eq!(Header::new(7, &[]).file_length(), 8 * 3);
    }

    #[test]
    fn headers_of_other_files_and_other_parts_differ() {
        let header = |id, parts: &[&[u8]]| Header::new(id, parts).bytes();
        let this = header(1, &[b"ab", b"c"]);
        assert_ne!(this, header(2, &[b"ab", b"c"]));
        assert_ne!(this, header(1, &[b"a", b"bc"]));
        assert_ne!(this, header(1, &[b"abc"]));
        assert_eq!(this, header(1, &[b"ba", b"d"]));
    }
}
