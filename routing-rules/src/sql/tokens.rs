//! Pieces as sqlparser wants them. Constants come without their values, words in lower case, and a token's column is
//! the number of its piece plus one.

use std::ops::Range;

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use super::Unread;
use super::pieces::{Kind, Literal, Pieces};

/// The tokens of these pieces.
pub fn tokens(pieces: &Pieces<'_>, range: Range<usize>) -> Result<Vec<TokenWithSpan>, Unread> {
    if !is_shallow(pieces) {
        return Err(Unread::TooLong);
    }
    let mut tokens = Vec::with_capacity(range.len() + 1);
    for place in range {
        let at = Location::new(1, place as u64 + 1);
        tokens.push(TokenWithSpan::new(token(pieces, place)?, Span::new(at, at)));
    }
    Ok(tokens)
}

/// The same tokens, but that constants of types the parser does not know (`inet '10.0.0.1'`, `app.mood 'ok'`) are of one it knows and
/// no key has. `None`: there are none.
pub fn with_known_types(tokens: &[TokenWithSpan]) -> Option<Vec<TokenWithSpan>> {
    let is_string = |at: usize| matches!(tokens.get(at), Some(next) if matches!(next.token, Token::SingleQuotedString(_)));
    let mut known = Vec::with_capacity(tokens.len());
    let (mut at, mut count) = (0, 0);
    while let Some(first) = tokens.get(at) {
        let end = name_end(tokens, at);
        if end > at && is_string(end) {
            known.push(TokenWithSpan::new(Token::make_word("bytea", None), first.span));
            (at, count) = (end, count + 1);
        } else {
            let end = end.max(at + 1);
            known.extend_from_slice(&tokens[at..end]);
            at = end;
        }
    }
    (count > 0).then_some(known)
}

/// Where the name that begins here ends; here, if none does. One word is none if it is a word of the language.
fn name_end(tokens: &[TokenWithSpan], at: usize) -> usize {
    let word = |at: usize| match tokens.get(at).map(|token| &token.token) {
        Some(Token::Word(word)) => Some(word),
        Some(_) | None => None,
    };
    let Some(first) = word(at) else { return at };
    let mut end = at + 1;
    while matches!(tokens.get(end), Some(token) if token.token == Token::Period) && word(end + 1).is_some() {
        end += 2;
    }
    let is_name = end > at + 1 || first.quote_style.is_some() || first.keyword == Keyword::NoKeyword;
    if is_name { end } else { at }
}

fn token(pieces: &Pieces<'_>, place: usize) -> Result<Token, Unread> {
    let text = pieces.text(place);
    Ok(match pieces.all[place].2 {
        Kind::Word => Token::make_word(&text.to_ascii_lowercase(), None),
        Kind::Quoted => {
            let name = text.get(1..text.len() - 1).unwrap_or("");
            Token::make_word(&name.replace("\"\"", "\""), Some('"'))
        }
        Kind::Parameter => Token::Placeholder(text.to_owned()),
        Kind::Literal(number) => match pieces.literals[number as usize].1 {
            Literal::Text | Literal::Body | Literal::Escaped => Token::SingleQuotedString(String::new()),
            Literal::Number => Token::Number("1".to_owned(), false),
        },
        Kind::Fixed => match text.as_bytes()[0] {
            b'x' | b'X' => Token::HexStringLiteral(String::new()),
            b'n' | b'N' => Token::NationalStringLiteral(String::new()),
            _ => Token::SingleQuotedByteStringLiteral(String::new()),
        },
        Kind::Mark => mark(text)?,
        Kind::Operator => operator(text),
    })
}

fn mark(text: &str) -> Result<Token, Unread> {
    Ok(match text {
        "(" => Token::LParen,
        ")" => Token::RParen,
        "," => Token::Comma,
        ";" => Token::SemiColon,
        "." => Token::Period,
        "[" => Token::LBracket,
        "]" => Token::RBracket,
        ":" => Token::Colon,
        _ => return Err(Unread::Lexical("a character in it is no SQL")),
    })
}

fn operator(text: &str) -> Token {
    match text {
        "::" => Token::DoubleColon,
        ":=" => Token::Assignment,
        "=" => Token::Eq,
        "<>" | "!=" => Token::Neq,
        "<" => Token::Lt,
        ">" => Token::Gt,
        "<=" => Token::LtEq,
        ">=" => Token::GtEq,
        "+" => Token::Plus,
        "-" => Token::Minus,
        "*" => Token::Mul,
        "/" => Token::Div,
        "%" => Token::Mod,
        "^" => Token::Caret,
        "||" => Token::StringConcat,
        "&" => Token::Ampersand,
        "|" => Token::Pipe,
        "#" => Token::Sharp,
        "~" => Token::Tilde,
        "~*" => Token::TildeAsterisk,
        "!~" => Token::ExclamationMarkTilde,
        "!~*" => Token::ExclamationMarkTildeAsterisk,
        "~~" => Token::DoubleTilde,
        "~~*" => Token::DoubleTildeAsterisk,
        "!~~" => Token::ExclamationMarkDoubleTilde,
        "!~~*" => Token::ExclamationMarkDoubleTildeAsterisk,
        "<<" => Token::ShiftLeft,
        ">>" => Token::ShiftRight,
        "&&" => Token::Overlap,
        "->" => Token::Arrow,
        "->>" => Token::LongArrow,
        "#>" => Token::HashArrow,
        "#>>" => Token::HashLongArrow,
        "@>" => Token::AtArrow,
        "<@" => Token::ArrowAt,
        "#-" => Token::HashMinus,
        "@?" => Token::AtQuestion,
        "@@" => Token::AtAt,
        "?" => Token::Question,
        "?&" => Token::QuestionAnd,
        "?|" => Token::QuestionPipe,
        "=>" => Token::RArrow,
        "|/" => Token::PGSquareRoot,
        "||/" => Token::PGCubeRoot,
        "@" => Token::AtSign,
        "^@" => Token::CaretAt,
        other => Token::CustomBinaryOperator(other.to_owned()),
    }
}

/// The longest run of pieces without a comma that the tree may hold, what is in parentheses within it counted too. A chain
/// of operators is as deep in the tree as it is long in the text.
const RUN_MAX: usize = 2000;

/// Is every chain of pieces short enough to walk and to drop?
fn is_shallow(pieces: &Pieces<'_>) -> bool {
    // What each open parenthesis has seen: the present run, and the deepest thing inside.
    let mut open = vec![(0_usize, 0_usize)];
    for place in 0..pieces.all.len() {
        let last = open.len() - 1;
        match (pieces.all[place].2, pieces.text(place)) {
            (Kind::Mark, "(" | "[") => open.push((0, 0)),
            (Kind::Mark, ")" | "]") if last > 0 => {
                let (run, inner) = open[last];
                open.pop();
                open[last - 1].1 = open[last - 1].1.max(run + inner + 1);
            }
            (Kind::Mark, "," | ";") => open[last].0 = 0,
            _ => open[last].0 += 1,
        }
        let (run, inner) = open[open.len() - 1];
        if run + inner > RUN_MAX {
            return false;
        }
    }
    true
}
