//! Where one AMQP 0-9-1 frame ends and the next begins, and which method it carries: so that a proxy can lose exactly one kind of message,
//! or break a connection in the middle of one. Pure.

/// (class, method) as the specification numbers them.
pub type Method = (u16, u16);

pub const BASIC_PUBLISH: Method = (60, 40);
pub const BASIC_DELIVER: Method = (60, 60);
/// From the broker it confirms a publish, from a consumer it acknowledges a delivery.
pub const BASIC_ACK: Method = (60, 80);

/// What a client says first is no frame.
const PROTOCOL_HEADER: &[u8] = b"AMQP";
const PROTOCOL_HEADER_BYTES: usize = 8;
/// Type (1), channel (2), size (4).
const HEAD_BYTES: usize = 7;
/// The octet that ends each frame.
const END_BYTES: usize = 1;
const METHOD_FRAME: u8 = 1;

/// One frame as it was on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub bytes: Vec<u8>,
    pub method: Option<Method>,
}

/// One direction of one connection, cut into frames.
#[derive(Debug, Default)]
pub struct Frames {
    rest: Vec<u8>,
}

impl Frames {
    /// Takes what was read; gives the frames that are whole by now.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Frame> {
        self.rest.extend_from_slice(bytes);
        let mut frames = Vec::new();
        while let Some(length) = length(&self.rest).filter(|length| *length <= self.rest.len()) {
            let bytes: Vec<u8> = self.rest.drain(..length).collect();
            frames.push(Frame { method: method(&bytes), bytes });
        }
        frames
    }

    /// What stands behind the last whole frame: the beginning of one that never came.
    pub fn rest(self) -> Vec<u8> {
        self.rest
    }
}

/// The length of the first frame, once its head is there.
fn length(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(PROTOCOL_HEADER) {
        return Some(PROTOCOL_HEADER_BYTES);
    }
    let size = bytes.get(3..HEAD_BYTES)?.try_into().map(u32::from_be_bytes).ok()?;
    usize::try_from(size).ok()?.checked_add(HEAD_BYTES + END_BYTES)
}

fn method(frame: &[u8]) -> Option<Method> {
    let number = |at: usize| frame.get(at..at + 2)?.try_into().map(u16::from_be_bytes).ok();
    if frame.first() != Some(&METHOD_FRAME) { None } else { number(HEAD_BYTES).zip(number(HEAD_BYTES + 2)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of this type with this payload on channel 1.
    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 0, 1], size.as_slice(), payload, &[0xce]].concat()
    }

    #[test]
    fn frames_are_found_however_they_are_chopped() {
        let ack = frame(1, &[0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 7, 0]);
        // A body that looks like a protocol header and a method.
        let body = frame(3, b"AMQP\x00\x3c\x00\x28");
        let stream = [b"AMQP\x00\x00\x09\x01".as_slice(), &ack, &body, &frame(8, &[])].concat();
        for step in 1..=stream.len() {
            let mut frames = Frames::default();
            let found: Vec<Frame> = stream.chunks(step).flat_map(|chunk| frames.push(chunk)).collect();
            let methods: Vec<_> = found.iter().map(|frame| frame.method).collect();
            assert_eq!(methods, [None, Some(BASIC_ACK), None, None], "in steps of {step}");
            assert_eq!(found.iter().flat_map(|frame| frame.bytes.clone()).collect::<Vec<_>>(), stream);
            assert!(frames.rest().is_empty());
        }
    }

    #[test]
    fn unfinished_frame_is_kept() {
        let publish = frame(1, &[0, 60, 0, 40, 0, 0, 0, 0, 0]);
        let (begun, end) = publish.split_at(9);
        let mut frames = Frames::default();
        assert_eq!(frames.push(begun), []);
        let expected = Frame { bytes: publish.clone(), method: Some(BASIC_PUBLISH) };
        assert_eq!(frames.push(&[end, begun].concat()), [expected]);
        assert_eq!(frames.rest(), begun);
    }
}
