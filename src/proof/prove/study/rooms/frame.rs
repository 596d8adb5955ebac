//! What members and replicas tell each other over a WebSocket: JSON, one message a frame.

use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::Message;

use super::store::Said;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Frame {
    /// To a member: it is in the room now, at the replica of this name.
    Joined(String),
    /// To a member: somebody has said something.
    Said(Said),
    /// To a member: what it has said under this number is kept, with this id.
    Kept {
        /// The member's number of it.
        number: u32,
        /// Its id in the room.
        id: u64,
    },
    /// From a member: what it says under this number.
    Say(u32),
}

impl Frame {
    /// As it is sent.
    pub(super) fn to_message(&self) -> Message {
        Message::text(serde_json::to_string(self).unwrap_or_default())
    }

    /// What came; `None`: something else.
    pub(super) fn of(message: &Message) -> Option<Self> {
        match message {
            Message::Text(text) => serde_json::from_str(text).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_sent() {
        let said = Said { id: 7, from: 3, number: 1 };
        for (frame, text) in [
            (Frame::Joined("r0".into()), r#"{"joined":"r0"}"#),
            (Frame::Said(said), r#"{"said":{"id":7,"from":3,"number":1}}"#),
            (Frame::Kept { number: 1, id: 7 }, r#"{"kept":{"number":1,"id":7}}"#),
            (Frame::Say(2), r#"{"say":2}"#),
        ] {
            assert_eq!(frame.to_message(), Message::text(text));
            assert_eq!(Frame::of(&Message::text(text)), Some(frame));
        }
        assert_eq!(Frame::of(&Message::text("{}")), None);
    }
}
