//! Statements tied to a tenant by words put into them.

mod world;

use routing_rules::{Key, Lex, Reading, Rewritten, Values, cut, rewrite};
use world::{context, sharding, tables};

/// The text for tenant 7, or the reason why there is none.
fn tied(text: &str) -> String {
    let (sharding, tables) = (sharding(), tables());
    let context = context(&sharding, &tables);
    let pieces = cut(text.as_bytes(), Lex::default()).expect("a text");
    let reading = Reading::new(&pieces, &context);
    let values = Values {
        pieces: &pieces,
        parameters: &[],
        only_keys: &reading.only_keys,
    };
    match rewrite(&reading, &values, Lex::default(), &context, &Key::Integer(7)) {
        Ok(None) => "as it is".into(),
        Ok(Some(rewritten)) => {
            points_home(text, &rewritten);
            rewritten.text
        }
        Err(reason) => format!("refused: {reason}"),
    }
}

/// Each character of the client's text is found again by its position in the other one.
fn points_home(text: &str, rewritten: &Rewritten) {
    let mut own = text.chars();
    for (place, character) in rewritten.text.chars().enumerate() {
        if let Some(position) = rewritten.inserted.position(place + 1) {
            assert_eq!(own.next(), Some(character), "{text}: {place}");
            assert_eq!(position, text.chars().count() - own.clone().count(), "{text}");
        }
    }
    assert_eq!(own.next(), None, "{text}");
}

#[test]
fn every_table_is_tied_or_the_statement_refused() {
    let key = r#""tenant_id" = E'7'"#;
    let cases = [
        ("select * from orders where tenant_id = 7", "as it is".to_owned()),
        ("select * from currency", "as it is".to_owned()),
        (
            "select * from orders",
            format!("select * from (SELECT * FROM orders WHERE {key}) AS orders "),
        ),
        (
            "select * from orders o -- x",
            format!("select * from (SELECT * FROM orders  WHERE {key}) o -- x"),
        ),
        (
            "select * from public.orders as o left join items i on i.order_id = o.id where o.amount > 5 or true",
            format!(
                "select * from (SELECT * FROM public.orders  WHERE {key}) as o left join (SELECT * FROM items  WHERE {key}) i \
                 on i.order_id = o.id where o.amount > 5 or true"
            ),
        ),
        (
            "select count(*) from orders where id in (select order_id from items)",
            format!(
                "select count(*) from (SELECT * FROM orders  WHERE {key}) AS orders where id in (select order_id from \
                 (SELECT * FROM items WHERE {key}) AS items )"
            ),
        ),
        (
            "with o as (select * from orders) select * from o a, o b",
            format!(
                "with o as (select * from (SELECT * FROM orders WHERE {key}) AS orders ) select * from o a, o b"
            ),
        ),
        (
            "select 'ä', * from orders order by oops",
            format!("select 'ä', * from (SELECT * FROM orders  WHERE {key}) AS orders order by oops"),
        ),
        (
            "copy orders to stdout",
            format!("copy (SELECT * FROM orders  WHERE {key}) to stdout"),
        ),
        (
            "delete from orders",
            format!("delete from orders WHERE orders.{key} "),
        ),
        (
            "update orders o set amount = 1 where id = 5 or id = 6 returning *",
            format!("update orders o set amount = 1 where (id = 5 or id = 6 ) AND o.{key} returning *"),
        ),
        (
            "insert into orders (tenant_id, id) select tenant_id, order_id from items",
            format!(
                "insert into orders (tenant_id, id) select tenant_id, order_id from (SELECT * FROM items WHERE {key}) AS items "
            ),
        ),
        (
            "select * from orders where tenant_id = 8",
            "refused: table orders is not tied to the session's tenant".to_owned(),
        ),
        (
            "insert into orders (tenant_id) values (8)",
            "refused: table orders is not tied to the session's tenant".to_owned(),
        ),
        (
            "select my_report()",
            "refused: function my_report may read any table".to_owned(),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(tied(text), expected, "{text}");
    }
    for text in [
        "copy orders from stdin",
        "truncate orders",
        "call f()",
        "merge into orders o using currency c on true when matched then delete",
        "select * from orders where tenant_id = 8 or true union all select * from orders where tenant_id = 9",
        "update orders set tenant_id = 8",
    ] {
        assert!(tied(text).starts_with("refused: "), "{text}: {}", tied(text));
    }
}

#[test]
fn a_tenants_name_can_not_end_its_constant() {
    let (mut sharding, tables) = (sharding(), routing_rules::Tables::default());
    sharding.key_type = routing_rules::KeyType::Text;
    let context = context(&sharding, &tables);
    let tenant = Key::Text(r"a' OR true -- \' x".into());
    let pieces = cut(b"select * from declared", Lex::default()).expect("a text");
    let reading = Reading::new(&pieces, &context);
    let values = Values {
        pieces: &pieces,
        parameters: &[],
        only_keys: &[],
    };
    let text = rewrite(&reading, &values, Lex::default(), &context, &tenant)
        .expect("tied")
        .expect("changed")
        .text;
    assert!(text.contains(r#""owner" = E'a'' OR true -- \\'' x'"#), "{text}");
}
