//! Compression of layer blobs, chosen when writing and recognised when reading.

use std::io::{self, BufRead, BufReader, Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use oci_spec::image::MediaType;

/// Compression of a layer blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// The archive as it is.
    None,
    /// Gzip, level 0 to 9.
    Gzip(u32),
    /// Zstandard, level 1 to 22.
    Zstd(i32),
}

impl Default for Compression {
    /// Gzip at its usual level: what every registry and runtime accepts.
    fn default() -> Self {
        Self::Gzip(6)
    }
}

/// First bytes of a gzip stream.
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// First bytes of a Zstandard frame.
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

impl Compression {
    /// The OCI media type of a layer with this compression.
    pub fn media_type(self) -> MediaType {
        match self {
            Self::None => MediaType::ImageLayer,
            Self::Gzip(_) => MediaType::ImageLayerGzip,
            Self::Zstd(_) => MediaType::ImageLayerZstd,
        }
    }

    /// Recognises a blob by its first bytes, as every runtime does: media types in old archives
    /// cannot be trusted.
    pub fn detect(start: &[u8]) -> Self {
        if start.starts_with(GZIP_MAGIC) {
            Self::default()
        } else if start.starts_with(ZSTD_MAGIC) {
            Self::Zstd(3)
        } else {
            Self::None
        }
    }
}

/// A compressing writer.
pub(super) enum Encoder<W: Write> {
    None(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(compression: Compression, stream: W) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None(stream),
            // The header carries no name and no time, so the bytes depend on the content only.
            Compression::Gzip(level) => Self::Gzip(GzEncoder::new(
                stream,
                flate2::Compression::new(level.min(9)),
            )),
            Compression::Zstd(level) => {
                Self::Zstd(zstd::stream::write::Encoder::new(stream, level)?)
            }
        })
    }

    /// Writes the end of the stream.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::None(stream) => Ok(stream),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(stream) => stream.write(data),
            Self::Gzip(encoder) => encoder.write(data),
            Self::Zstd(encoder) => encoder.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(stream) => stream.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// Largest window a Zstandard stream may ask for, as a power of two: 128 MiB of memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// A decompressing reader over a stream of any known compression.
pub(crate) enum Decoder<R: Read> {
    None(BufReader<R>),
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<R>>),
}

impl<R: Read> Decoder<R> {
    /// Looks at the first bytes and chooses.
    pub(crate) fn new(stream: R) -> io::Result<Self> {
        let mut stream = BufReader::with_capacity(64 * 1024, stream);
        Ok(match Compression::detect(stream.fill_buf()?) {
            Compression::None => Self::None(stream),
            Compression::Gzip(_) => Self::Gzip(Box::new(MultiGzDecoder::new(stream))),
            Compression::Zstd(_) => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(stream)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Self::Zstd(decoder)
            }
        })
    }

    /// The compressed stream, for what follows the end of the data.
    pub(crate) fn into_inner(self) -> BufReader<R> {
        match self {
            Self::None(stream) => stream,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(stream) => stream.read(buf),
            Self::Gzip(decoder) => decoder.read(buf),
            Self::Zstd(decoder) => decoder.read(buf),
        }
    }
}
