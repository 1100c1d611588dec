//! The headers of a message, by name.

use replicamq_proto::store::v1::Message;

/// Of a header that is there several times the first counts, as STOMP says.
pub(crate) fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    let mut headers = message.headers.iter();
    headers
        .find(|header| header.name == name)
        .map(|header| &*header.value)
}
