//! Moves bytes between memory and a file piece by piece.
//!
//! Each piece is summed up while it is in the processor's cache, and moved
//! without a copy: straight from and to where the caller has it. Small parts
//! that lie next to each other in the file share one call of the system.

use super::system;
use crc32fast::Hasher;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::slice;

/// Pieces end at multiples of this in the file: short enough to stay in the
/// processor's cache between the checksum and the copy, long enough for calls to
/// cost nothing.
pub(super) const PIECE: usize = 1 << 18;

/// How many parts one piece is made of at most; systems take 1024.
const SLICES: usize = 256;

/// Writes `slices` one after the other while it is told to `go_on`; then their
/// checksum, or `None` if it was told to stop.
pub(super) fn write<'a>(
    file: &File,
    slices: impl IntoIterator<Item = &'a [u8]>,
    go_on: impl Fn() -> bool,
) -> io::Result<Option<u32>> {
    let mut checksum = Hasher::new();
    let mut piece: Vec<IoSlice<'a>> = Vec::new();
    let mut room = PIECE;
    for mut rest in slices {
        while !rest.is_empty() {
            let now;
            (now, rest) = rest.split_at(rest.len().min(room));
            checksum.update(now);
            piece.push(IoSlice::new(now));
            room -= now.len();
            if room == 0 || piece.len() == SLICES {
                if !go_on() {
                    return Ok(None);
                }
                write_all(file, &mut piece)?;
                piece.clear();
                room = if room == 0 { PIECE } else { room };
            }
        }
    }
    write_all(file, &mut piece)?;
    Ok(go_on().then(|| checksum.finalize()))
}

fn write_all(mut file: &File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `places` with what follows `before` in the file, which was read
/// already; then the checksum of both. If the file ends early the error is
/// [`io::ErrorKind::UnexpectedEof`].
pub(super) fn read<'a>(
    file: &File,
    before: &[u8],
    places: impl IntoIterator<Item = &'a mut [MaybeUninit<u8>]>,
) -> io::Result<u32> {
    let mut checksum = Hasher::new();
    checksum.update(before);
    let mut piece: Vec<&'a mut [MaybeUninit<u8>]> = Vec::new();
    let mut room = PIECE - before.len() % PIECE;
    for mut rest in places {
        while !rest.is_empty() {
            let now;
            (now, rest) = rest.split_at_mut(rest.len().min(room));
            room -= now.len();
            piece.push(now);
            if room == 0 || piece.len() == SLICES {
                read_all(file, &mut piece, &mut checksum)?;
                room = if room == 0 { PIECE } else { room };
            }
        }
    }
    read_all(file, &mut piece, &mut checksum)?;
    Ok(checksum.finalize())
}

fn read_all(
    file: &File,
    piece: &mut Vec<&mut [MaybeUninit<u8>]>,
    checksum: &mut Hasher,
) -> io::Result<()> {
    system::fill(file, piece)?;
    for place in piece.drain(..) {
        // SAFETY: `fill` has initialized every byte, or had failed.
        checksum.update(unsafe { slice::from_raw_parts(place.as_ptr().cast(), place.len()) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Scratch, noise, places};
    use super::*;
    use std::cell::Cell;
    use std::fs;

    /// Writes and reads `parts`, and compares with the same done in one go.
    fn round_trip(parts: &[&[u8]]) {
        let scratch = Scratch::new();
        let path = scratch.path().join("file");
        let file = system::make_file(&path).unwrap();
        let written = write(&file, parts.iter().copied(), || true).unwrap();
        let whole = parts.concat();
        assert_eq!(written, Some(crc32fast::hash(&whole)));
        assert!(fs::read(&path).unwrap() == whole);

        let file = system::open_file(&path).unwrap();
        let mut got: Vec<_> = parts.iter().map(|part| places(part.len())).collect();
        let read = read(&file, &[], got.iter_mut().map(|place| &mut place[..]));
        assert_eq!(read.unwrap(), crc32fast::hash(&whole));
    }

    #[test]
    fn parts_of_any_length_come_back() {
        let bytes = noise(3 * PIECE + 17);
        round_trip(&[]);
        round_trip(&[&[], &[]]);
        round_trip(&[&bytes]);
        round_trip(&[&bytes[..PIECE], &bytes[..PIECE]]);
        round_trip(&[&bytes[1..PIECE], &[], &bytes[5..PIECE + 7], &bytes[..1]]);
        round_trip(&bytes.chunks(1000).collect::<Vec<_>>());
        round_trip(&bytes[..3 * SLICES].chunks(1).collect::<Vec<_>>());
        round_trip(&bytes[..2 * SLICES].chunks(2).collect::<Vec<_>>());
    }

    #[test]
    fn a_writer_that_is_told_to_stop_stops_at_the_next_piece() {
        let scratch = Scratch::new();
        let path = scratch.path().join("file");
        let file = system::make_file(&path).unwrap();
        let left = Cell::new(2);
        let go_on = || left.replace(left.get() - 1) > 0;
        let bytes = noise(5 * PIECE);
        assert_eq!(write(&file, [&bytes[..]], go_on).unwrap(), None);
        assert_eq!(fs::metadata(&path).unwrap().len(), 2 * PIECE as u64);
    }

    #[test]
    fn a_file_that_ends_early_is_an_error() {
        let scratch = Scratch::new();
        let path = scratch.path().join("file");
        fs::write(&path, noise(100)).unwrap();
        let file = system::open_file(&path).unwrap();
        let mut place = places(101);
        let error = read(&file, &[], [&mut place[..]]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
