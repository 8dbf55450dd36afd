//! A stream of server-sent events, as `GET /jobs/{id}/events` is one.

use super::{Error, Pieces};

/// One event; a field that was not sent is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Where it stands in the stream.
    pub id: String,
    pub event: String,
    pub data: String,
}

/// The events of an answer, as they come.
#[derive(Debug)]
pub struct Events {
    pieces: Pieces,
    buffer: Vec<u8>,
}

impl Events {
    pub fn of(pieces: Pieces) -> Self {
        Self { pieces, buffer: Vec::new() }
    }

    /// The next one; `None` when the stream has ended. Comments are passed over.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            while let Some(block) = take_block(&mut self.buffer) {
                if let Some(event) = Event::parse(&block) {
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

impl Event {
    /// What stands between two empty lines; `None`: nothing but comments.
    pub(crate) fn parse(block: &str) -> Option<Event> {
        let mut event = Event::default();
        let mut data: Vec<&str> = Vec::new();
        for line in block.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => value.clone_into(&mut event.id),
                "event" => value.clone_into(&mut event.event),
                "data" => data.push(value),
                _ => {}
            }
        }
        event.data = data.join("\n");
        (event != Event::default()).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_from_comments_and_from_what_has_not_come() {
        let mut buffer = b": nothing new\n\nevent: status\nretry: 1000\nid: 7\ndata: {\"a\":1}\n\ndata: {".to_vec();
        assert_eq!(take_block(&mut buffer).and_then(|block| Event::parse(&block)), None);
        let event = take_block(&mut buffer).and_then(|block| Event::parse(&block));
        let (id, name, data) = ("7".to_owned(), "status".to_owned(), "{\"a\":1}".to_owned());
        assert_eq!(event, Some(Event { id, event: name, data }));
        assert_eq!((take_block(&mut buffer), buffer.as_slice()), (None, b"data: {".as_slice()));
    }
}
