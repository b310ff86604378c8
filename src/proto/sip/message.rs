use bytes::Bytes;

#[derive(Clone, Debug)]
pub struct Message {
    pub bytes: Bytes,
}
