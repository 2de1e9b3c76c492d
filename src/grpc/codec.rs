//! The messages' codec. A request that is no valid message is the client's fault and says so: INVALID_ARGUMENT, where
//! tonic's own codec answers INTERNAL.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Most bytes of one request. More is OUT_OF_RANGE before anything is decoded.
pub(crate) const MAX_REQUEST_BYTES: usize = 8 * 1024 * 1024;
/// Most bytes of one answer: what clients take by default.
pub(crate) const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// A stream allocates the first number at once and hands its bytes on from the second: with 1,024 idle readers
/// tonic's 8 and 32 KiB would be most of their memory. Long answers reserve what they need, once.
const BUFFERS: (usize, usize) = (1024, 8 * 1024);

/// What generated servers and clients use, see `build.rs`.
#[derive(Debug)]
pub(crate) struct StrictCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for StrictCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for StrictCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = StrictEncoder<T>;
    type Decoder = StrictDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        StrictEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        StrictDecoder(PhantomData)
    }
}

#[derive(Debug)]
pub(crate) struct StrictEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for StrictEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.reserve(item.encoded_len());
        item.encode(buf).map_err(|error| Status::internal(format!("an answer could not be encoded: {error}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFERS.0, BUFFERS.1)
    }
}

#[derive(Debug)]
pub(crate) struct StrictDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for StrictDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        U::decode(buf).map(Some).map_err(|error| undecodable(&error))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFERS.0, BUFFERS.1)
    }
}

fn undecodable(error: &prost::DecodeError) -> Status {
    Status::invalid_argument(format!("the message cannot be decoded: {error}"))
}
