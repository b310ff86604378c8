//! The examples of `docs/api.md`, tried out in their order.

use super::*;

/// The words of a shell command without expansions; single quotes only.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (n, part) in command.split('\'').enumerate() {
        match n % 2 {
            0 => words.extend(part.split_whitespace().map(String::from)),
            _ => words.push(part.to_string()),
        }
    }
    words
}

fn request(curl: &str) -> Request<Body> {
    let (mut method, mut url, mut body) = (None, String::new(), None);
    let mut request = Request::builder().header("host", "localhost:8080");
    let mut words = words(curl).into_iter().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} of {curl}"));
        match word.as_str() {
            "-X" => method = Some(value()),
            "-d" => body = Some(value()),
            "-H" => {
                let header = value();
                let (name, value) = header.split_once(": ").unwrap();
                request = request.header(name, value);
            }
            _ => url = word.strip_prefix("http://localhost:8080").unwrap_or_else(|| panic!("{curl}")).to_string(),
        }
    }
    let request = request.method(method.unwrap_or("GET".to_string()).as_str()).uri(url);
    request.body(body.map_or(Body::empty(), Body::from)).unwrap()
}

#[tokio::test]
async fn every_command_of_the_documentation_works() {
    let office = Office::open().await;
    let text = include_str!("../../../docs/api.md");
    let commands: Vec<&str> = text.lines().filter(|line| line.starts_with("curl ")).collect();
    assert!(commands.len() >= 10, "{commands:?}");
    for command in commands {
        let reply = office.send(request(command)).await;
        assert_eq!(reply.status, StatusCode::OK, "{command}: {}", reply.text);
    }
}
