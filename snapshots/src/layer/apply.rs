//! Putting a layer onto a directory.
//!
//! The blob is read once: its bytes feed the hasher of the digest and the decompressor, whose
//! output feeds the hasher of the diff id and the extraction. Both streams are read to their very
//! end, also past the end of the archive, since the digests cover everything.

use std::io::{self, Read};
use std::path::Path;

use super::LayerError;
use super::compress::Decoder;
use crate::content::{self, ContentProvider};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::tar::{Extracted, Limits, Policy, Reader, TarError, extract};

/// Most bytes an archive may have per byte of its limit: headers and padding come on top of the
/// data of files, up to some blocks for each entry.
const OVERHEAD_PER_ENTRY: u64 = 4096;

/// What applying a layer found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Entries and bytes.
    pub extracted: Extracted,
}

/// Applies the layer `digest` to the directory `dir`, in which the layers below it already are.
///
/// # Errors
/// [`LayerError`]. The directory then holds part of the layer; extract into a directory that can be
/// thrown away. A [`LayerError::Mismatch`] is found at the end only.
pub fn apply(
    provider: &dyn ContentProvider,
    digest: &Digest,
    expected_diff_id: Option<&Digest>,
    dir: &Path,
    policy: &Policy,
) -> Result<Applied, LayerError> {
    let (extracted, diff_id) = verified(
        provider,
        digest,
        expected_diff_id,
        &policy.limits,
        |archive| extract(&mut Reader::new(archive), dir, policy),
    )?;
    Ok(Applied { diff_id, extracted })
}

/// Gives the archive in the layer `digest` to `consume`, and returns its result with the diff id
/// when the whole stream has the digests it should have.
pub(crate) fn verified<T>(
    provider: &dyn ContentProvider,
    digest: &Digest,
    expected_diff_id: Option<&Digest>,
    limits: &Limits,
    consume: impl FnOnce(&mut dyn Read) -> Result<T, TarError>,
) -> Result<(T, Digest), LayerError> {
    let limit = limits
        .entries
        .saturating_mul(OVERHEAD_PER_ENTRY)
        .saturating_add(limits.bytes);
    let (value, diff_id) = decompress(provider, digest, limit, |archive| Ok(consume(archive)?))?;
    match expected_diff_id {
        Some(expected) if *expected != diff_id => Err(LayerError::Mismatch {
            what: "diff id",
            expected: expected.clone(),
            actual: diff_id,
        }),
        _ => Ok((value, diff_id)),
    }
}

/// Computes the diff id of a stored layer.
///
/// # Errors
/// [`LayerError`].
pub fn diff_id(provider: &dyn ContentProvider, digest: &Digest) -> Result<Digest, LayerError> {
    let limits = Limits::default();
    let ((), diff_id) = decompress(provider, digest, limits.bytes, |archive| {
        io::copy(archive, &mut io::sink())?;
        Ok(())
    })?;
    Ok(diff_id)
}

/// Runs `consume` over the uncompressed bytes of a blob; returns its result and the diff id.
fn decompress<T>(
    provider: &dyn ContentProvider,
    digest: &Digest,
    limit: u64,
    consume: impl FnOnce(&mut dyn Read) -> Result<T, LayerError>,
) -> Result<(T, Digest), LayerError> {
    let blob = Hashed::new(
        content::open(provider, digest)?,
        digest.algorithm(),
        u64::MAX,
    );
    let mut archive = Hashed::new(Decoder::new(blob)?, Algorithm::Sha256, limit);
    let result = consume(&mut archive);
    if result.is_err() {
        // Say that the blob is damaged, if it is: a bad header in it is only the symptom.
        verify(archive.stream, digest)?;
        return result.map(|value| (value, Digest::sha256(b"")));
    }
    let value = result?;
    io::copy(&mut archive, &mut io::sink())?;
    let diff_id = archive.hasher.finish();
    verify(archive.stream, digest)?;
    Ok((value, diff_id))
}

/// Reads the rest of the compressed stream and compares its digest.
fn verify<R: Read>(decoder: Decoder<Hashed<R>>, expected: &Digest) -> Result<(), LayerError> {
    let mut stream = decoder.into_inner();
    io::copy(&mut stream, &mut io::sink())?;
    let actual = stream.into_inner().hasher.finish();
    if actual == *expected {
        return Ok(());
    }
    Err(LayerError::Mismatch {
        what: "digest",
        expected: expected.clone(),
        actual,
    })
}

/// Hashes what passes through, up to a limit.
struct Hashed<R> {
    stream: R,
    hasher: Hasher,
    left: u64,
}

impl<R> Hashed<R> {
    fn new(stream: R, algorithm: Algorithm, limit: u64) -> Self {
        Self {
            stream,
            hasher: Hasher::new(algorithm),
            left: limit,
        }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buf)?;
        self.hasher.update(&buf[..count]);
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the layer is larger than its limit",
            )
        })?;
        Ok(count)
    }
}
