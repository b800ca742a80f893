//! Pieces as sqlparser wants them. Constants come without their values, words in lower case, and a token's column is
//! the number of its piece plus one.

use std::ops::Range;

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
