//! Any text as a selector: a condition, or a refusal with a place. What is put around a condition
//! means what logic says, and no message makes its evaluation panic.

use replicamq_fuzzing::Input;
use replicamq_proto::store::v1::{Header, Message};

use crate::selector::{
    Identifier, Redelivery, Selector, SelectorError, SelectorFault, StringNumbers, Value,
};

const TEXTS: [&str; 8] = [
    "",
    "a",
    "aéb",
    "50%",
    "5",
    "-0.5",
    "TRUE",
    "99999999999999999999",
];
const VALUES: [Value<'_>; 8] = [
    Value::Null,
    Value::Bool(true),
    Value::Bool(false),
    Value::Long(0),
    Value::Long(i64::MIN),
    Value::Double(0.5),
    Value::Double(f64::NAN),
    Value::Str("5"),
];

/// The first byte says how texts are read, the second what the headers are; the rest is the
/// selector.
pub fn selector(data: &[u8]) {
    let mut input = Input::new(data);
    let strings = input.pick(&[StringNumbers::Keep, StringNumbers::Convert]);
    let shift = usize::from(input.byte());
    let text = String::from_utf8_lossy(input.rest());
    let selector = match Selector::parse(&text, strings) {
        Ok(None) => return,
        Ok(Some(selector)) => selector,
        Err(error) => return is_placed(&text, &error),
    };
    assert_eq!(selector.to_string(), text);
    let truth = evaluate(&selector, shift);
    wraps(
        &format!("NOT (\n{text}\n)"),
        strings,
        shift,
        truth.map(|it| !it),
    );
    wraps(
        &format!("TRUE AND (\n{text}\n) OR FALSE"),
        strings,
        shift,
        truth,
    );
    let redelivery = Redelivery {
        redelivered: shift > 8,
        redeliveries: u32::MAX,
    };
    let once = selector.matches_message(&message(shift), redelivery);
    assert_eq!(selector.matches_message(&message(shift), redelivery), once);
}

fn is_placed(text: &str, error: &SelectorError) {
    match error {
        SelectorError::TooLong { bytes } => assert_eq!(*bytes, text.len()),
        SelectorError::Invalid { column, .. } => {
            assert!((1..=text.chars().count() + 1).contains(column), "{error}");
        }
    }
    assert!(!error.to_string().is_empty());
}

/// Each letter has its own value of the eight.
fn of<T: Copy>(all: [T; 8], name: &str, shift: usize) -> T {
    all[(name.len() + usize::from(name.as_bytes()[0]) + shift) % all.len()]
}

fn evaluate(selector: &Selector, shift: usize) -> Option<bool> {
    let lookup = |identifier: &Identifier| match identifier {
        Identifier::Header(_) => Value::Long(4),
        Identifier::Property(name) => of(VALUES, name, shift),
    };
    let truth = selector.evaluate(&lookup);
    assert_eq!(selector.matches(&lookup), truth == Some(true));
    truth
}

/// A prefix counts only in front of everything.
fn wraps(text: &str, strings: StringNumbers, shift: usize, expected: Option<bool>) {
    if text.contains("convert_string_expressions:") {
        return;
    }
    match Selector::parse(text, strings) {
        Ok(wrapped) => {
            let wrapped = wrapped.expect("it is not blank");
            assert_eq!(evaluate(&wrapped, shift), expected, "{text}");
        }
        Err(SelectorError::TooLong { .. }) => {}
        Err(SelectorError::Invalid { fault, .. }) => assert_eq!(fault, SelectorFault::TooDeep),
    }
}

fn message(shift: usize) -> Message {
    let names = [
        "a",
        "b",
        "c",
        "price",
        "type",
        "correlation-id",
        "JMSXGroupSeq",
    ];
    let header = |name: &str| Header {
        name: name.to_owned(),
        value: of(TEXTS, name, shift).to_owned(),
    };
    Message {
        headers: names.map(header).into(),
        timestamp_ms: u64::MAX,
        persistent: shift.is_multiple_of(2),
        ..Message::default()
    }
}
