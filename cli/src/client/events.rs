//! A stream of server-sent events, as `GET /jobs/{id}/events` is one.

use chassis::client::{Error, Pieces};

/// One event: what it says, and where it stands in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

/// The events of an answer, as they come.
#[derive(Debug)]
pub(crate) struct Events {
    pieces: Pieces,
    buffer: Vec<u8>,
}

impl Events {
    pub(crate) fn of(pieces: Pieces) -> Self {
        Self { pieces, buffer: Vec::new() }
    }

    /// The next one; `None` when the stream has ended.
    ///
    /// # Errors
    /// When the connection broke.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            while let Some(block) = take_block(&mut self.buffer) {
                if let Some(event) = event_of(&block) {
                    return Ok(Some(event));
                }
            }
            match self.pieces.next().await? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None => return Ok(None),
            }
        }
    }
}

/// What stands before the first empty line.
fn take_block(buffer: &mut Vec<u8>) -> Option<String> {
    let end = buffer.windows(2).position(|pair| pair == b"\n\n")?;
    let block: Vec<u8> = buffer.drain(..end + 2).collect();
    Some(String::from_utf8_lossy(&block).into_owned())
}

/// A comment is no event.
fn event_of(block: &str) -> Option<Event> {
    let field = |name: &str| {
        let values = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let values: Vec<&str> = values.map(|value| value.strip_prefix(' ').unwrap_or(value)).collect();
        (!values.is_empty()).then(|| values.join("\n"))
    };
    field("data").map(|data| Event { id: field("id"), data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_from_comments_and_from_what_has_not_come() {
        let mut buffer = b": nothing new\n\nevent: status\nretry: 1000\nid: 7\ndata: {\"a\":1}\n\ndata: {".to_vec();
        assert_eq!(take_block(&mut buffer).and_then(|block| event_of(&block)), None);
        let event = take_block(&mut buffer).and_then(|block| event_of(&block));
        assert_eq!(event, Some(Event { id: Some("7".to_owned()), data: "{\"a\":1}".to_owned() }));
        assert_eq!((take_block(&mut buffer), buffer.as_slice()), (None, b"data: {".as_slice()));
    }
}
