//! Protocol buffers' text format, read as far as a model's configuration goes: names, values, messages, lists.

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A number, an enum's name, or a string without its quotes.
    Scalar(String),
    Message(Message),
}

/// Fields in their order; a list is a field many times.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Message(pub Vec<(String, Node)>);

impl Message {
    pub fn read(text: &str) -> Message {
        let mut tokens = tokens(text);
        tokens.reverse();
        let message = fields(&mut tokens, None);
        assert!(tokens.is_empty(), "the text ends with {tokens:?}");
        message
    }

    fn all(&self, name: &str) -> Vec<&Node> {
        self.0.iter().filter(|(field, _)| field == name).map(|(_, node)| node).collect()
    }

    pub fn messages(&self, name: &str) -> Vec<&Message> {
        let mut messages = Vec::new();
        for node in self.all(name) {
            let Node::Message(message) = node else { panic!("`{name}` is {node:?}") };
            messages.push(message);
        }
        messages
    }

    pub fn scalars(&self, name: &str) -> Vec<&str> {
        let mut scalars = Vec::new();
        for node in self.all(name) {
            let Node::Scalar(text) = node else { panic!("`{name}` is {node:?}") };
            scalars.push(text.as_str());
        }
        scalars
    }

    pub fn scalar(&self, name: &str) -> &str {
        match self.scalars(name)[..] {
            [one] => one,
            ref other => panic!("`{name}` is {other:?}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Mark(char),
}

fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            c if c.is_whitespace() => {}
            '"' => {
                let mut value = String::new();
                loop {
                    match rest.next().expect("a closing quote") {
                        '"' => break,
                        '\\' => match rest.next().expect("an escape") {
                            'n' => value.push('\n'),
                            c @ ('"' | '\\') => value.push(c),
                            other => panic!("escape `{other}`"),
                        },
                        c => value.push(c),
                    }
                }
                found.push(Token::Text(value));
            }
            ':' | '{' | '}' | '[' | ']' | ',' => found.push(Token::Mark(c)),
            c => {
                let mut word = String::from(c);
                while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')) {
                    word.push(c);
                }
                found.push(Token::Word(word));
            }
        }
    }
    found
}

/// Fields up to `end`; the next token is the last of the list.
fn fields(tokens: &mut Vec<Token>, end: Option<char>) -> Message {
    let mut message = Message::default();
    loop {
        let name = match tokens.pop() {
            None if end.is_none() => return message,
            Some(Token::Mark(mark)) if Some(mark) == end => return message,
            Some(Token::Word(name)) => name,
            other => panic!("a field's name expected, found {other:?}"),
        };
        match tokens.pop() {
            Some(Token::Mark('{')) => message.0.push((name, Node::Message(fields(tokens, Some('}'))))),
            Some(Token::Mark(':')) => match tokens.pop() {
                Some(Token::Word(value) | Token::Text(value)) => message.0.push((name, Node::Scalar(value))),
                Some(Token::Mark('[')) => loop {
                    match tokens.pop() {
                        Some(Token::Word(value) | Token::Text(value)) => {
                            message.0.push((name.clone(), Node::Scalar(value)));
                        }
                        Some(Token::Mark(',')) => {}
                        Some(Token::Mark(']')) => break,
                        other => panic!("a list of `{name}` has {other:?}"),
                    }
                },
                other => panic!("the value of `{name}` is {other:?}"),
            },
            other => panic!("`{name}` is followed by {other:?}"),
        }
    }
}
