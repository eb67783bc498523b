//! Addresses: every scheme, every kind of mistake and where it is located.

use super::*;
use proptest::prelude::*;

fn failing(text: &str) -> (usize, String) {
    let error = text.parse::<Address>().expect_err(text);
    (error.at, error.reason)
}

#[test]
fn every_scheme_parses_and_prints_itself() {
    for text in [
        "unix:///run/buildkit/buildkitd.sock",
        "tcp://localhost:1234",
        "tcp://[::1]:1234",
        "docker-container://bk",
        "docker-container://bk?context=far%20away",
        "podman-container://bk",
        "nerdctl-container://bk?namespace=k8s.io",
        "kube-pod://pod-0",
        "kube-pod://pod-0?context=c&namespace=n&container=k",
        "ssh://host",
        "ssh://me@host:2222/run/bk.sock",
        "ssh://[fe80::1]:22",
        "docker+unix:///var/run/docker.sock",
        "docker+tcp://10.0.0.1:2375",
        "docker+ssh://me@host",
    ] {
        let address: Address = text.parse().expect(text);
        assert_eq!(address.to_string(), text);
    }
}

#[test]
fn mistakes_are_located() {
    assert_eq!(failing("/run/bk.sock").0, 0);
    assert_eq!(failing("unix://run/bk.sock").0, 7);
    assert_eq!(failing("tcp://host").0, 6);
    assert_eq!(
        failing("tcp://host:0"),
        (11, "\"0\" is not a port (1 to 65535)".into())
    );
    assert_eq!(failing("tcp://host:99999").0, 11);
    assert_eq!(
        failing("tcp://::1:99").1,
        "an IPv6 address stands in brackets, as in [::1]:1234"
    );
    assert_eq!(failing("tcp://host:1/x").0, 13);
    assert_eq!(failing("docker-container://").1, "the name is empty");
    assert_eq!(failing("docker-container://a?contxt=b").0, 21);
    assert_eq!(failing("docker-container://a?context=b&context=c").0, 31);
    assert_eq!(failing("docker-container://a?context=%2").0, 29);
    assert_eq!(failing("kube-pod://p/q").0, 12);
    assert_eq!(failing("ssh://me:pw@host").0, 8);
    assert_eq!(failing("docker+ssh://host/sock").0, 18);
    assert_eq!(failing("bogus://x").0, 0);
    assert_eq!(failing("unix:///a\nb").0, 9);
}

#[test]
fn nothing_of_an_address_can_become_an_option() {
    assert_eq!(
        failing("ssh://-oProxyCommand=x").1,
        "the host may not start with a dash"
    );
    assert_eq!(
        failing("ssh://-l@host").1,
        "the user may not start with a dash"
    );
    assert_eq!(
        failing("docker-container://--privileged").1,
        "the name may not start with a dash"
    );
}

#[test]
fn docker_host_is_located_in_its_own_text() {
    let address = Address::from_docker_host("unix:///var/run/docker.sock").expect("valid");
    assert_eq!(address.to_string(), "docker+unix:///var/run/docker.sock");
    let error = Address::from_docker_host("tcp://host").expect_err("no port");
    assert_eq!((error.text.as_str(), error.at), ("tcp://host", 6));
    assert!(Address::from_docker_host("fd://").is_err());
}

proptest! {
    #[test]
    fn any_text_is_an_address_or_an_error_inside_it(text in ".{0,60}") {
        match text.parse::<Address>() {
            Ok(address) => prop_assert_eq!(
                address.to_string().parse::<Address>().expect("prints what it parses"),
                address
            ),
            Err(error) => prop_assert!(error.at <= text.len()),
        }
    }

    #[test]
    fn query_values_survive(value in "[^\\p{Cc}]{1,20}") {
        let helper = Helper::DockerContainer { name: "n".into(), context: Some(value) };
        let address = Address::BuildKit(Endpoint::Helper(helper));
        prop_assert_eq!(address.to_string().parse::<Address>().expect("valid"), address);
    }
}
