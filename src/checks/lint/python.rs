//! Python errors that its grammar lets pass, because it is made for editors: Python 2, and indentation.

use tree_sitter::{Node, Tree};

use super::finding::{Finding, What, line_start};

/// Adds them, and keeps the order of the text.
pub(super) fn add(findings: &mut Vec<Finding>, text: &str, tree: &Tree) {
    let mut cursor = tree.walk();
    // Around an error the tree's blocks are guesses.
    let blocks_are_sure = findings.is_empty();
    loop {
        let node = cursor.node();
        match node.kind() {
            "print_statement" | "exec_statement" => findings.extend(python_2(text, node)),
            "module" | "block" if blocks_are_sure => findings.extend(misplaced(text, node)),
            _ => {}
        }
        if holds_statements(node.kind()) && cursor.goto_first_child() {
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                findings.sort_by_key(|finding| finding.byte);
                return;
            }
        }
    }
}

/// Whether statements can be inside; in expressions there are none.
fn holds_statements(kind: &str) -> bool {
    matches!(kind, "module" | "block" | "ERROR" | "decorated_definition")
        || kind.ends_with("_definition")
        || kind.ends_with("_clause")
        || matches!(
            kind,
            "if_statement"
                | "for_statement"
                | "while_statement"
                | "with_statement"
                | "try_statement"
                | "match_statement"
        )
}

/// `print x` and `exec x`; but `print >>f, x` and `print (x), y` are expressions of Python 3 too.
fn python_2(text: &str, node: Node<'_>) -> Option<Finding> {
    let word = node.child(0)?;
    let rest = text.get(word.end_byte()..node.end_byte())?;
    let is_operand = rest.trim_start().starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '"' | '\''));
    let what = match word.kind() {
        "print" => What::Other("`print` of Python 2, without parentheses"),
        _ => What::Other("`exec` of Python 2, without parentheses"),
    };
    is_operand.then(|| Finding { byte: node.start_byte(), what })
}

/// A block without statements, or the first statement that does not stand where the others do.
fn misplaced(text: &str, block: Node<'_>) -> Option<Finding> {
    let mut cursor = block.walk();
    let statements: Vec<_> = block.named_children(&mut cursor).filter(|node| node.kind() != "comment").collect();
    let Some(first) = statements.first() else {
        let byte = text[..block.start_byte()].trim_end().len();
        let what = What::Other("missing an indented block after this");
        return (block.kind() == "block").then_some(Finding { byte, what });
    };
    let indentation = indentation(text, *first)?;
    let differs = |node: &&Node<'_>| {
        let other = self::indentation(text, **node);
        other.is_some_and(|other| other != indentation && !other.contains('\t') && !indentation.contains('\t'))
    };
    let wrong = statements.iter().find(differs)?;
    Some(Finding { byte: wrong.start_byte(), what: What::Other("unexpected indentation") })
}

/// What stands before a statement that begins its line; a form feed begins it anew.
fn indentation<'text>(text: &'text str, node: Node<'_>) -> Option<&'text str> {
    let before = &text[line_start(text, node.start_byte())..node.start_byte()];
    let before = before.rsplit('\u{c}').next().unwrap_or(before).trim_start_matches('\u{feff}');
    before.chars().all(|c| c == ' ' || c == '\t').then_some(before)
}
