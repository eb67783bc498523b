//! `/etc/passwd` and `/etc/group` of a container, for owners given by name.
//!
//! Copies resolve names in the daemon; secrets and sockets need numbers in
//! LLB, so there the files are read first.

use crate::error::Error;
use crate::vertex::OwnerId;

/// An owner in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// `user[:group]` as it is written in an argument.
///
/// # Errors
/// When a part is empty or a number is too large.
pub(crate) fn parse_owner(owner: &str) -> Result<(OwnerId, Option<OwnerId>), Error> {
    let part = |text: &str| -> Result<OwnerId, Error> {
        if text.is_empty() {
            return Err(Error::input(format!("owner {owner:?} is not user[:group]")));
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return text
                .parse()
                .map(OwnerId::Id)
                .map_err(|_| Error::input(format!("owner {owner:?}: {text} is too large")));
        }
        Ok(OwnerId::Name(text.to_owned()))
    };
    match owner.split_once(':') {
        None => Ok((part(owner)?, None)),
        Some((user, group)) => Ok((part(user)?, Some(part(group)?))),
    }
}

/// Numbers of an owner, with the container's files as text.
///
/// # Errors
/// When a name is in neither file.
pub(crate) fn resolve(
    user: &OwnerId,
    group: Option<&OwnerId>,
    passwd: &str,
    groups: &str,
) -> Result<Ids, Error> {
    let (uid, primary) = match user {
        OwnerId::Id(id) => (*id, *id),
        OwnerId::Name(name) => {
            let fields = entry(passwd, name)
                .ok_or_else(|| Error::input(format!("no user {name} in /etc/passwd")))?;
            (number(&fields, 2, name)?, number(&fields, 3, name)?)
        }
    };
    let gid = match group {
        None => primary,
        Some(OwnerId::Id(id)) => *id,
        Some(OwnerId::Name(name)) => {
            let fields = entry(groups, name)
                .ok_or_else(|| Error::input(format!("no group {name} in /etc/group")))?;
            number(&fields, 2, name)?
        }
    };
    Ok(Ids { uid, gid })
}

fn entry<'a>(file: &'a str, name: &str) -> Option<Vec<&'a str>> {
    file.lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|f| f.first() == Some(&name))
}

fn number(fields: &[&str], at: usize, name: &str) -> Result<u32, Error> {
    fields
        .get(at)
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| Error::input(format!("the entry of {name} has no number in field {at}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/app:/bin/sh\n";
    const GROUPS: &str = "root:x:0:\nweb:x:33:app\n";

    fn ids(owner: &str) -> Result<Ids, Error> {
        let (user, group) = parse_owner(owner)?;
        resolve(&user, group.as_ref(), PASSWD, GROUPS)
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(
            ids("app").expect("known"),
            Ids {
                uid: 1000,
                gid: 1001
            }
        );
        assert_eq!(ids("app:web").expect("known"), Ids { uid: 1000, gid: 33 });
        assert_eq!(ids("7").expect("a number"), Ids { uid: 7, gid: 7 });
        assert_eq!(ids("7:8").expect("numbers"), Ids { uid: 7, gid: 8 });
    }

    #[test]
    fn mistakes_name_the_part() {
        assert_eq!(
            ids("ghost").expect_err("unknown").message(),
            "no user ghost in /etc/passwd"
        );
        assert_eq!(
            ids("app:x").expect_err("unknown").message(),
            "no group x in /etc/group"
        );
        assert_eq!(
            ids("app:").expect_err("empty").message(),
            "owner \"app:\" is not user[:group]"
        );
        assert!(ids("99999999999").is_err());
    }
}
