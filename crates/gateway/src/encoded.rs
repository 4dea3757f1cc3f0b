//! The body of an upstream's answer, decoded if it is compressed.
//!
//! The gateway requests an uncompressed body. If the upstream compresses it anyway, it is decoded, because a
//! compressed body cannot be searched for the key or for token counts.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http::{HeaderMap, header::CONTENT_ENCODING};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyDataStream;
use hyper::body::Incoming;
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::dial::BoxError;

/// The content encoding of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zlib,
    Brotli,
}

impl Encoding {
    /// Returns the encoding from the headers of an answer; `None` if it is unknown or there are several.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut encodings = Vec::new();
        for value in headers.get_all(CONTENT_ENCODING) {
            for name in value.to_str().ok()?.split(',').map(str::trim) {
                match name.to_ascii_lowercase().as_str() {
                    "" | "identity" => {}
                    "gzip" | "x-gzip" => encodings.push(Self::Gzip),
                    "deflate" => encodings.push(Self::Zlib),
                    "br" => encodings.push(Self::Brotli),
                    _ => return None,
                }
            }
        }
        match encodings.as_slice() {
            [] => Some(Self::Identity),
            [encoding] => Some(*encoding),
            _ => None,
        }
    }
}

/// The decoded body of an answer. A compressed one has no trailers.
pub(crate) enum UpstreamBody {
    Plain(Incoming),
    Decoded(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send + Sync>>),
}

impl UpstreamBody {
    pub(crate) fn new(body: Incoming, encoding: Encoding) -> Self {
        fn decoded(reader: impl AsyncRead + Send + Sync + 'static) -> UpstreamBody {
            UpstreamBody::Decoded(Box::pin(ReaderStream::new(reader)))
        }
        let reader = |body| StreamReader::new(BodyDataStream::new(body).map_err(io::Error::other));
        match encoding {
            Encoding::Identity => Self::Plain(body),
            Encoding::Gzip => decoded(GzipDecoder::new(reader(body))),
            Encoding::Zlib => decoded(ZlibDecoder::new(reader(body))),
            Encoding::Brotli => decoded(BrotliDecoder::new(reader(body))),
        }
    }
}

impl fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamBody").finish_non_exhaustive()
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Plain(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Decoded(stream) => {
                stream.as_mut().poll_next(cx).map(|item| item.map(|item| item.map(Frame::data).map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain(body) => body.is_end_stream(),
            Self::Decoded(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(body) => body.size_hint(),
            Self::Decoded(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_or_multiple_encodings_are_rejected() {
        for (values, encoding) in [
            (&[][..], Some(Encoding::Identity)),
            (&["identity"], Some(Encoding::Identity)),
            (&["GZip, identity"], Some(Encoding::Gzip)),
            (&["deflate"], Some(Encoding::Zlib)),
            (&["identity", "br"], Some(Encoding::Brotli)),
            (&["gzip, gzip"], None),
            (&["gzip", "br"], None),
            (&["zstd"], None),
            (&["rot13"], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, value.parse().unwrap());
            }
            assert_eq!(Encoding::of(&headers), encoding, "{values:?}");
        }
    }
}
