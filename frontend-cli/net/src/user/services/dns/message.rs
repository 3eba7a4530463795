//! DNS messages (RFC 1035, 4.1), as far as who passes them on must read them: the header and the question.

use std::net::IpAddr;

/// The longest query that is taken, in bytes; a question alone has 271 at most.
pub(crate) const MAX_QUERY: usize = 4096;

/// Response codes (RFC 1035, 4.1.1).
pub(crate) const FORMAT_ERROR: u8 = 1;
/// The server failed.
pub(crate) const SERVER_FAILURE: u8 = 2;
const NOT_IMPLEMENTED: u8 = 4;
const REFUSED: u8 = 5;

const HEADER: usize = 12;
const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;

// Bits of the third and fourth byte.
const RESPONSE: u8 = 0x80;
const OPCODE: u8 = 0x78;
const AUTHORITATIVE: u8 = 0x04;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;
const RESPONSE_CODE: u8 = 0x0f;

// Types and classes (RFC 1035, 3.2; RFC 3596).
const A: u16 = 1;
const AAAA: u16 = 28;
const ANY: u16 = 255;
const INTERNET: u16 = 1;

/// How long an answer of ours may be kept, in seconds.
const TIME_TO_LIVE: u32 = 60;

/// Where the name of the question is, for records to point to (RFC 1035, 4.1.4).
const QUESTION_NAME: u16 = 0xc00c;

/// The question of a message.
pub(crate) struct Question<'a> {
    /// The name as it stands.
    name: &'a [u8],
    kind: u16,
    class: u16,
    /// The whole question.
    bytes: &'a [u8],
}

impl Question<'_> {
    /// Whether the name is `name`, as [`encode`] makes it.
    pub(crate) fn is_of(&self, name: &[u8]) -> bool {
        // Lengths of labels are below any letter, so case matters to letters alone.
        self.name.eq_ignore_ascii_case(name)
    }

    /// Whether it asks the same; letters may differ in case.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.is_of(other.name) && (self.kind, self.class) == (other.kind, other.class)
    }
}

/// `name` as messages have it; `None` if it cannot be a name.
pub(crate) fn encode(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        let len =
            u8::try_from(label.len()).ok().filter(|len| (1..=MAX_LABEL).contains(&usize::from(*len)))?;
        bytes.push(len);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    (bytes.len() <= MAX_NAME).then_some(bytes)
}

/// Whether `message` is a query, well-formed or not.
pub(crate) fn is_query(message: &[u8]) -> bool {
    message.len() >= HEADER && message[2] & RESPONSE == 0
}

/// The identifier of `message`.
pub(crate) fn identifier(message: &[u8]) -> u16 {
    message.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

/// Gives `message` another identifier.
pub(crate) fn set_identifier(message: &mut [u8], identifier: u16) {
    if let Some(bytes) = message.first_chunk_mut() {
        *bytes = identifier.to_be_bytes();
    }
}

/// The question, if there is one and only one.
pub(crate) fn question(message: &[u8]) -> Option<Question<'_>> {
    let (header, rest) = message.split_first_chunk::<HEADER>()?;
    if header[4..6] != [0, 1] {
        return None;
    }
    let mut len = 0;
    loop {
        let label = usize::from(*rest.get(len)?);
        // A name that comes first has nothing to point to.
        if label > MAX_LABEL {
            return None;
        }
        len += 1 + label;
        if len > MAX_NAME {
            return None;
        }
        if label == 0 {
            break;
        }
    }
    let [a, b, c, d] = *rest.get(len..)?.first_chunk()?;
    Some(Question {
        name: &rest[..len],
        kind: u16::from_be_bytes([a, b]),
        class: u16::from_be_bytes([c, d]),
        bytes: &rest[..len + 4],
    })
}

/// Whether `message` answers `query`. Of one that failed the question may be missing.
pub(crate) fn is_answer(message: &[u8], query: &[u8]) -> bool {
    if message.len() < HEADER
        || message[2] & RESPONSE == 0
        || (message[2] ^ query.get(2).copied().unwrap_or(0)) & OPCODE != 0
        || identifier(message) != identifier(query)
    {
        return false;
    }
    match (question(message), question(query)) {
        (Some(answered), Some(asked)) => answered.is_same(&asked),
        (None, _) => message[4..6] == [0, 0] && message[3] & RESPONSE_CODE != 0,
        (Some(_), None) => false,
    }
}

/// Whether `message`, an answer, only says that its server cannot tell.
pub(crate) fn tells_nothing(message: &[u8]) -> bool {
    let code = message.get(3).map_or(SERVER_FAILURE, |flags| flags & RESPONSE_CODE);
    matches!(code, SERVER_FAILURE | NOT_IMPLEMENTED | REFUSED)
}

/// The answer to `query` that it failed with `code`.
pub(crate) fn failure(query: &[u8], code: u8) -> Vec<u8> {
    reply(query, question(query).as_ref(), 0, code, 0)
}

/// The answer to `query` that its name has `addresses`, of which it may have asked for those of one version alone.
pub(crate) fn answer(query: &[u8], question: &Question<'_>, addresses: &[IpAddr]) -> Vec<u8> {
    let wanted = |address: &&IpAddr| {
        let kind = if address.is_ipv4() { A } else { AAAA };
        matches!(question.class, INTERNET | ANY) && (question.kind == kind || question.kind == ANY)
    };
    let addresses: Vec<_> = addresses.iter().filter(wanted).take(usize::from(u8::MAX)).collect();
    let count = u8::try_from(addresses.len()).unwrap_or(u8::MAX);
    let mut message = reply(query, Some(question), AUTHORITATIVE, 0, count);
    for address in addresses {
        let (kind, data) = match address {
            IpAddr::V4(address) => (A, address.octets().to_vec()),
            IpAddr::V6(address) => (AAAA, address.octets().to_vec()),
        };
        let len = u16::try_from(data.len()).unwrap_or(0);
        for word in [QUESTION_NAME, kind, INTERNET] {
            message.extend(word.to_be_bytes());
        }
        message.extend(TIME_TO_LIVE.to_be_bytes());
        message.extend(len.to_be_bytes());
        message.extend(data);
    }
    message
}

/// The head of an answer to `query`, with its question.
fn reply(query: &[u8], question: Option<&Question<'_>>, flags: u8, code: u8, answers: u8) -> Vec<u8> {
    let asked = query.get(2).copied().unwrap_or(0);
    let mut message = identifier(query).to_be_bytes().to_vec();
    message.push(RESPONSE | flags | asked & (OPCODE | RECURSION_DESIRED));
    message.push(RECURSION_AVAILABLE | code);
    message.extend([0, question.is_some().into(), 0, answers, 0, 0, 0, 0]);
    message.extend(question.map_or(&[][..], |question| question.bytes));
    message
}
