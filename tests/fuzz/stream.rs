//! Target `stream`: the bytes of a connection. However they arrive, the same messages come out.

use strowger::base::limits;
use strowger::proto::sip::stream::{Frame, Framer, StreamError};

pub fn run(bytes: &[u8]) {
    // A longer one may be too long or not as its pieces come: nobody is promised which.
    if bytes.len() > limits::MESSAGE_BYTES / 2 {
        return;
    }
    let whole = cut(bytes, bytes.len().max(1));
    for size in [1, 7, 64] {
        assert_eq!(cut(bytes, size), whole, "in pieces of {size}");
    }
}

/// The messages, with the error that ended them.
fn cut(bytes: &[u8], size: usize) -> (Vec<Vec<u8>>, Option<StreamError>) {
    let mut framer = Framer::default();
    let mut messages = Vec::new();
    for piece in bytes.chunks(size) {
        framer.push(piece);
        loop {
            match framer.next_frame() {
                Ok(Some(Frame::Message(message))) => {
                    let _ = message.validate();
                    messages.push(message.bytes().to_vec());
                }
                Ok(Some(Frame::Ping | Frame::Pong)) => {}
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(framer.next_frame().err(), Some(error), "an error stays");
                    return (messages, Some(error));
                }
            }
        }
    }
    (messages, None)
}
