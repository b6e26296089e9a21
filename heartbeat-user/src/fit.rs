//! Text that fits a width.

/// Broken at spaces, so that no line is longer; a word that is longer has its own.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().filter(|line| !line.is_empty());
        match line {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(word.to_owned()),
            None => {
                lines.pop();
                lines.push(word.to_owned());
            }
        }
    }
    lines
}

/// Cut, with a `~` in place of the last character, where it is longer.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['~']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_spaces_and_names_are_cut_with_a_mark() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a longest b", 3), ["a", "longest", "b"]);
        assert_eq!(wrapped("", 3), [""]);
        assert_eq!((shortened("bravo", 5), shortened("charlie", 5)), ("bravo".to_owned(), "char~".to_owned()));
    }
}
