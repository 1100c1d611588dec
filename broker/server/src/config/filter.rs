//! The log filter: a level, and levels of single targets.
//!
//! The logging library would read more, spans and patterns of their fields; but some of that takes
//! it seconds, and some ends in a panic.

/// From the quietest on.
pub(super) const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The filter without blanks.
///
/// # Errors
/// What is wrong with it.
pub(super) fn normal(text: &str) -> Result<String, String> {
    let words = text.split(',').map(str::trim);
    words.clone().try_for_each(check)?;
    Ok(words.collect::<Vec<_>>().join(","))
}

fn check(word: &str) -> Result<(), String> {
    let Some((target, level)) = word.split_once('=') else {
        // A word that is no level would be taken for a target, of which there is none.
        if is_level(word) {
            return Ok(());
        }
        return Err(format!("`{word}` is not a log level"));
    };
    if !is_level(level) {
        return Err(format!(
            "`{word}` is not a log filter: `{level}` is not a log level"
        ));
    }
    if target.is_empty() || !target.chars().all(is_of_a_target) {
        return Err(format!(
            "`{word}` is not a log filter: a target is the name of a module"
        ));
    }
    Ok(())
}

fn is_level(word: &str) -> bool {
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word))
}

fn is_of_a_target(character: char) -> bool {
    character.is_ascii_alphanumeric() || ['_', ':', '-', '.'].contains(&character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_targets_are_known_and_nothing_else() {
        assert_eq!(normal("info"), Ok("info".to_owned()));
        assert_eq!(
            normal(" WARN , a::b_c=Debug"),
            Ok("WARN,a::b_c=Debug".to_owned())
        );
        for text in [
            "",
            "loud",
            "a=loud",
            "=info",
            "a=",
            "[span]=info",
            "a[s{f=..}]=info",
            "aӕ=info",
            "a = info",
            "info,",
        ] {
            assert!(normal(text).is_err(), "{text}");
        }
    }
}
