BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE alias_moves (
	seq INTEGER NOT NULL, 
	model_id VARCHAR(128) NOT NULL, 
	alias VARCHAR(128) NOT NULL, 
	version VARCHAR(32), 
	previous_version VARCHAR(32), 
	at FLOAT NOT NULL, 
	actor TEXT NOT NULL, 
	comment TEXT NOT NULL, 
	PRIMARY KEY (seq)
);
INSERT INTO "alias_moves" VALUES(1,'threat-classifier','champion','1.2.20261122',NULL,1.79540692355150604251e+09,'ada','better on probes');
CREATE TABLE aliases (
	model_id VARCHAR(128) NOT NULL, 
	alias VARCHAR(128) NOT NULL, 
	version VARCHAR(32) NOT NULL, 
	at FLOAT NOT NULL, 
	actor TEXT NOT NULL, 
	PRIMARY KEY (model_id, alias), 
	FOREIGN KEY(model_id) REFERENCES models (id)
);
INSERT INTO "aliases" VALUES('threat-classifier','champion','1.2.20261122',1795406923.55091,'ada');
CREATE TABLE api_keys (
	key_id VARCHAR(64) NOT NULL, 
	name TEXT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	scopes TEXT NOT NULL, 
	model_prefixes TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	created_by TEXT NOT NULL, 
	revoked_at FLOAT, 
	PRIMARY KEY (key_id), 
	UNIQUE (sha256)
);
INSERT INTO "api_keys" VALUES('key-01a6e2840491','ci','34511657f31b1d5fbdfa439c27ebfd5bac9c160a031a63f9de403809067b775b','["read"]','[]',1.79540692354738307002e+09,'ada',NULL);
CREATE TABLE approvals (
	seq INTEGER NOT NULL, 
	model_id VARCHAR(128) NOT NULL, 
	version VARCHAR(32) NOT NULL, 
	stage VARCHAR(16) NOT NULL, 
	decision VARCHAR(16) NOT NULL, 
	actor TEXT NOT NULL, 
	comment TEXT NOT NULL, 
	text_sha256 VARCHAR(64) NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (seq)
);
INSERT INTO "approvals" VALUES(1,'threat-classifier','1.2.20261122','production','approve','bob','seen','2115b69d3b19b549c5ad89ec5cd4e16e3b715dc3bb9a068085bcb20d1bfd7f6b',1.79540692355350494386e+09);
CREATE TABLE audit (
	seq BIGINT NOT NULL, 
	at FLOAT NOT NULL, 
	actor TEXT NOT NULL, 
	action VARCHAR(64) NOT NULL, 
	entity TEXT NOT NULL, 
	facts TEXT NOT NULL, 
	previous_sha256 VARCHAR(64) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	PRIMARY KEY (seq)
);
INSERT INTO "audit" VALUES(1,1.7954069234977450371e+09,'trainer','model.registered','threat-classifier:1.1.20261122','{"manifest_digest": "08f248f4e23b399ef263fb9e5fbe737399e87691b017a4e3828037ca17ab576c"}','0000000000000000000000000000000000000000000000000000000000000000','0037628849716a71d176f73f1dcf05ee03cb34b5fa15886962178da791f3543e');
INSERT INTO "audit" VALUES(2,1.79540692351477503777e+09,'ada','model.staging','threat-classifier:1.1.20261122','{"comment": "looks good", "from_stage": "draft"}','0037628849716a71d176f73f1dcf05ee03cb34b5fa15886962178da791f3543e','2045e1478231c4e3a02a18c360e843f14372beb200411015eab58af0794c15c9');
INSERT INTO "audit" VALUES(3,1.79540692351771092412e+09,'trainer','model.registered','threat-classifier:1.2.20261122','{"manifest_digest": "35e2ef9541f3eb21548e9c03222054da54d5d17f961141a1c03d0ced8f5e64ed"}','2045e1478231c4e3a02a18c360e843f14372beb200411015eab58af0794c15c9','d5758969969ba147c8833d1f1bbb3e2bd40e5786d1e337628bf03965989e8a8e');
INSERT INTO "audit" VALUES(4,1.7954069235228729248e+09,'ada','model.annotated','threat-classifier:1.2.20261122','{"after": {"changes": "learnt from June''s labels"}, "before": {"changes": ""}}','d5758969969ba147c8833d1f1bbb3e2bd40e5786d1e337628bf03965989e8a8e','fb63c5f4e4f62100accff14cdff0cb66afaad6ab02753e4b5c17cb90599b9b1d');
INSERT INTO "audit" VALUES(5,1.79540692352622699738e+09,'ada','model.staging','threat-classifier:1.2.20261122','{"comment": "looks good", "from_stage": "draft"}','fb63c5f4e4f62100accff14cdff0cb66afaad6ab02753e4b5c17cb90599b9b1d','d020ac002bbf3ba3ca485bca20820d13c0e4a13e1304d416d98c38f0d475694d');
INSERT INTO "audit" VALUES(6,1.79540692352969694133e+09,'ada','model.production','threat-classifier:1.1.20261122','{"comment": "", "from_stage": "staging"}','d020ac002bbf3ba3ca485bca20820d13c0e4a13e1304d416d98c38f0d475694d','b097151ff474a2b95557e623928e0d0e64ecd44115b359eb303752bd91c2d659');
INSERT INTO "audit" VALUES(7,1.79540692353264594079e+09,'ada','deployment.wanted','threat-classifier','{"reason": "", "revision": 1, "routes": {"1.1.20261122": 100.0}}','b097151ff474a2b95557e623928e0d0e64ecd44115b359eb303752bd91c2d659','4809aff05e40facfd5c09c160a4cfac9549e825d3e8e4cdc2fc27aa370afb39d');
INSERT INTO "audit" VALUES(8,1795406923.53992,'ada','deployment.wanted','threat-classifier','{"reason": "", "revision": 2, "routes": {"1.1.20261122": 90.0, "1.2.20261122": 10.0}}','4809aff05e40facfd5c09c160a4cfac9549e825d3e8e4cdc2fc27aa370afb39d','ddc62448cb437e8ab16860fd796222ab1f3c563303ff2d59a0c8256ea93709e8');
INSERT INTO "audit" VALUES(9,1.79540692354449605942e+09,'ada','model.production','threat-classifier:1.2.20261122','{"comment": "better", "from_stage": "staging"}','ddc62448cb437e8ab16860fd796222ab1f3c563303ff2d59a0c8256ea93709e8','25609539117ee78825da4439a0695049545fd1810cbc366686cf0bbd3e3c8ea2');
INSERT INTO "audit" VALUES(10,1.79540692354633092883e+09,'ada','deployment.wanted','threat-classifier','{"reason": "version 1.2.20261122 was promoted to production", "revision": 3, "routes": {"1.2.20261122": 100.0}}','25609539117ee78825da4439a0695049545fd1810cbc366686cf0bbd3e3c8ea2','e6860a2e8f6729ec6fbac8f92350f81a6e86bef84419cf00ce3040535dd42e45');
INSERT INTO "audit" VALUES(11,1.7954069235481390953e+09,'ada','key.granted','key-01a6e2840491','{"model_prefixes": [], "name": "ci", "scopes": ["read"]}','e6860a2e8f6729ec6fbac8f92350f81a6e86bef84419cf00ce3040535dd42e45','871bbe075f80f8c983052c9f1a33a15016b4152925fe7828b95d1a1e7d41c42b');
INSERT INTO "audit" VALUES(12,1.79540692354985809324e+09,'ada','model.annotated','threat-classifier:1.1.20261122','{"after": {"description": "the first of all", "tags": {"team": "blue"}}, "before": {"description": "", "tags": {}}}','871bbe075f80f8c983052c9f1a33a15016b4152925fe7828b95d1a1e7d41c42b','805741556eaddd17e77e49c645aa3ecbf7b9576a32a8b18e68816627ce7b17d9');
INSERT INTO "audit" VALUES(13,1.79540692355224204058e+09,'ada','model.aliased','threat-classifier@champion','{"comment": "better on probes", "previous_version": null, "version": "1.2.20261122"}','805741556eaddd17e77e49c645aa3ecbf7b9576a32a8b18e68816627ce7b17d9','9caa9e2b4fb4cad56a2dc1ff4611ee086536806fdfd51d1ebb8045a69df55f1d');
INSERT INTO "audit" VALUES(14,1.79540692355434799197e+09,'bob','approval.approve','threat-classifier:1.2.20261122','{"comment": "seen", "stage": "production"}','9caa9e2b4fb4cad56a2dc1ff4611ee086536806fdfd51d1ebb8045a69df55f1d','1ca90ce4a312d0ef579b9b50feed4f7dc4f5069c53c39803bd8c0e6c7de9e51d');
INSERT INTO "audit" VALUES(15,1.79540692355610799792e+09,'ci','check.recorded','threat-classifier:1.2.20261122','{"check": "bias-scan", "passed": true}','1ca90ce4a312d0ef579b9b50feed4f7dc4f5069c53c39803bd8c0e6c7de9e51d','44fb750d369163a82d673ab8d1e850ca3fc72a24ae8bd5e70ebfa8bb34380b73');
INSERT INTO "audit" VALUES(16,1.79540692355835604671e+09,'carol','control.written','threat-classifier/dpia','{"control": {"description": "", "evidence": ["memo 12"], "expires_at": null, "owner": "carol", "reason": "", "stages": [], "state": "met", "title": "Impact assessment"}}','44fb750d369163a82d673ab8d1e850ca3fc72a24ae8bd5e70ebfa8bb34380b73','46351f903f21d4b192e15ee9582cc9fd07c435ba5e74f75866f77c489ae5a8a9');
INSERT INTO "audit" VALUES(17,1795406923.56014,'ada','policy.changed','threat-classifier','{"policy": {"former": "archive", "production": {"approvals": 0, "compliance": false, "four_eyes": false, "require_changes": true, "require_signature": false, "required_checks": [], "signers": []}, "retention": {"drop_archived_bytes_after_days": null, "keep_newest": 1}, "staging": {"approvals": 0, "compliance": false, "four_eyes": false, "require_changes": true, "require_signature": false, "required_checks": [], "signers": []}}, "revision": 1}','46351f903f21d4b192e15ee9582cc9fd07c435ba5e74f75866f77c489ae5a8a9','bfde5f400a1e1013008dac73e3427bd0b614d97f1605b1efc03e51622df02518');
INSERT INTO "audit" VALUES(18,1795406923.57668,'ada','signer.trusted','release','{"key_sha256": "8f9fb7d264ead1ed07cca83f16b7bf7158427db2a0b35e4e18d63c0262320214"}','bfde5f400a1e1013008dac73e3427bd0b614d97f1605b1efc03e51622df02518','a133be3031cef1b2b79b9a06abc3f373e0458e4dea0b65f6a607349f3ccab622');
CREATE TABLE blob_holders (
	sha256 VARCHAR(64) NOT NULL, 
	artifact TEXT NOT NULL, 
	PRIMARY KEY (sha256, artifact)
);
INSERT INTO "blob_holders" VALUES('0000000000000000000000000000000000000000000000000000000000000001','models/threat-classifier/job-1.1');
INSERT INTO "blob_holders" VALUES('0000000000000000000000000000000000000000000000000000000000000002','models/threat-classifier/job-2.1');
CREATE TABLE checks (
	seq INTEGER NOT NULL, 
	model_id VARCHAR(128) NOT NULL, 
	version VARCHAR(32) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	passed BOOLEAN NOT NULL, 
	detail TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (seq)
);
INSERT INTO "checks" VALUES(1,'threat-classifier','1.2.20261122','bias-scan',1,'run 17','ci',1.79540692355536389349e+09);
CREATE TABLE condemned (
	"key" TEXT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	at FLOAT NOT NULL, 
	claimed_at FLOAT, 
	PRIMARY KEY ("key")
);
CREATE TABLE controls (
	model_id VARCHAR(128) NOT NULL, 
	control_id VARCHAR(128) NOT NULL, 
	document TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	actor TEXT NOT NULL, 
	PRIMARY KEY (model_id, control_id), 
	FOREIGN KEY(model_id) REFERENCES models (id)
);
INSERT INTO "controls" VALUES('threat-classifier','dpia','{"title":"Impact assessment","description":"","owner":"carol","evidence":["memo 12"],"state":"met","reason":"","stages":[],"expires_at":null}',1.79540692355766510956e+09,'carol');
CREATE TABLE deployments (
	model_id VARCHAR(128) NOT NULL, 
	revision BIGINT NOT NULL, 
	document TEXT NOT NULL, 
	restores BIGINT, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (model_id, revision), 
	FOREIGN KEY(model_id) REFERENCES models (id)
);
INSERT INTO "deployments" VALUES('threat-classifier',1,'{"model_id":"threat-classifier","revision":1,"routes":[{"name":"stable","version":"1.1.20261122","weight":100.0,"artifact":"models/threat-classifier/job-1.1","manifest_digest":"08f248f4e23b399ef263fb9e5fbe737399e87691b017a4e3828037ca17ab576c"}],"shadow":null,"fallback":null,"sticky_key":null,"actor":"ada","reason":"","since":"2026-11-23T04:08:43.531897Z"}',NULL,1.79540692353189706804e+09);
INSERT INTO "deployments" VALUES('threat-classifier',2,'{"model_id":"threat-classifier","revision":2,"routes":[{"name":"stable","version":"1.1.20261122","weight":90.0,"artifact":"models/threat-classifier/job-1.1","manifest_digest":"08f248f4e23b399ef263fb9e5fbe737399e87691b017a4e3828037ca17ab576c"},{"name":"canary","version":"1.2.20261122","weight":10.0,"artifact":"models/threat-classifier/job-2.1","manifest_digest":"35e2ef9541f3eb21548e9c03222054da54d5d17f961141a1c03d0ced8f5e64ed"}],"shadow":null,"fallback":null,"sticky_key":null,"actor":"ada","reason":"","since":"2026-11-23T04:08:43.539097Z"}',NULL,1.79540692353909707066e+09);
INSERT INTO "deployments" VALUES('threat-classifier',3,'{"model_id":"threat-classifier","revision":3,"routes":[{"name":"stable","version":"1.2.20261122","weight":100.0,"artifact":"models/threat-classifier/job-2.1","manifest_digest":"35e2ef9541f3eb21548e9c03222054da54d5d17f961141a1c03d0ced8f5e64ed"}],"shadow":null,"fallback":null,"sticky_key":null,"actor":"ada","reason":"version 1.2.20261122 was promoted to production","since":"2026-11-23T04:08:43.545979Z"}',NULL,1.795406923545979023e+09);
CREATE TABLE idempotency (
	route VARCHAR(128) NOT NULL, 
	"key" VARCHAR(256) NOT NULL, 
	request_sha256 VARCHAR(64) NOT NULL, 
	status INTEGER NOT NULL, 
	response TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (route, "key")
);
CREATE TABLE inbox (
	handler VARCHAR(64) NOT NULL, 
	id VARCHAR(256) NOT NULL, 
	source VARCHAR(256) NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (handler, id, source)
)
 WITHOUT ROWID

;
CREATE TABLE inspections (
	sha256 VARCHAR(64) NOT NULL, 
	inspector INTEGER NOT NULL, 
	interface TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (sha256, inspector)
);
CREATE TABLE leases (
	name VARCHAR(128) NOT NULL, 
	holder VARCHAR(128) NOT NULL, 
	epoch BIGINT NOT NULL, 
	expires_at FLOAT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE models (
	id VARCHAR(128) NOT NULL, 
	name TEXT NOT NULL, 
	model_type VARCHAR(128) NOT NULL, 
	created_at FLOAT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "models" VALUES('threat-classifier','','threat-classifier',1.79540692349385595317e+09);
CREATE TABLE outbox (
	seq INTEGER NOT NULL, 
	id VARCHAR(64) NOT NULL, 
	topic VARCHAR(128) NOT NULL, 
	"key" VARCHAR(256) NOT NULL, 
	headers TEXT NOT NULL, 
	body BLOB, 
	at FLOAT NOT NULL, 
	published_at FLOAT, 
	parked TEXT, 
	PRIMARY KEY (seq)
);
INSERT INTO "outbox" VALUES(1,'395452cc-069b-46ae-bdba-25b471487eaf','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "395452cc-069b-46ae-bdba-25b471487eaf"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.registered.v1"], ["ce_time", "2026-11-23T04:08:43.501428Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "1"], ["ce_correlationid", "395452cc-069b-46ae-bdba-25b471487eaf"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E312E3230323631313232222C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D312E31222C226D616E69666573745F646967657374223A2230386632343866346532336233393965663236336662396535666265373337333939653837363931623031376134653338323830333763613137616235373663222C22636F6E74656E745F646967657374223A2236653031633436393339323962636131316566373835326461396235323631326166643636323231303161646137323233666437303338326230383035656639222C226D657472696373223A7B2276616C5F6163637572616379223A302E39317D2C226A6F625F6964223A226A6F622D31227D',1.79540692350161385534e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(2,'81d4ec99-24d1-4d30-b4e2-8d228af22797','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "81d4ec99-24d1-4d30-b4e2-8d228af22797"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.promoted.v1"], ["ce_time", "2026-11-23T04:08:43.515163Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "2"], ["ce_correlationid", "81d4ec99-24d1-4d30-b4e2-8d228af22797"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E312E3230323631313232222C2266726F6D5F7374616765223A226472616674222C22746F5F7374616765223A2273746167696E67222C226163746F72223A22616461222C22636F6D6D656E74223A226C6F6F6B7320676F6F64227D',1.79540692351533675199e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(3,'b00cf01f-369c-454f-b18d-46f5db065fd4','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "b00cf01f-369c-454f-b18d-46f5db065fd4"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.registered.v1"], ["ce_time", "2026-11-23T04:08:43.520363Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "3"], ["ce_correlationid", "b00cf01f-369c-454f-b18d-46f5db065fd4"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D322E31222C226D616E69666573745F646967657374223A2233356532656639353431663365623231353438653963303332323230353464613534643564313766393631313431613163303364306365643866356536346564222C22636F6E74656E745F646967657374223A2231613537356666386336623361363531373331616338633462613363306361626161633831623031663035616563653761346435326230626539373734653161222C226D657472696373223A7B2276616C5F6163637572616379223A302E39327D2C226A6F625F6964223A226A6F622D32227D',1.79540692352047586439e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(4,'e1489022-6a68-4ddf-9ef1-24a1aa89cdbd','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "e1489022-6a68-4ddf-9ef1-24a1aa89cdbd"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.annotated.v1"], ["ce_time", "2026-11-23T04:08:43.523165Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "4"], ["ce_correlationid", "e1489022-6a68-4ddf-9ef1-24a1aa89cdbd"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C226465736372697074696F6E223A22222C226368616E676573223A226C6561726E742066726F6D204A756E652773206C6162656C73222C2274616773223A7B7D2C226163746F72223A22616461227D',1.79540692352324652669e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(5,'b73fc6f9-989a-410c-9402-be0dc1cd3e47','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "b73fc6f9-989a-410c-9402-be0dc1cd3e47"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.promoted.v1"], ["ce_time", "2026-11-23T04:08:43.526370Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "5"], ["ce_correlationid", "b73fc6f9-989a-410c-9402-be0dc1cd3e47"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C2266726F6D5F7374616765223A226472616674222C22746F5F7374616765223A2273746167696E67222C226163746F72223A22616461222C22636F6D6D656E74223A226C6F6F6B7320676F6F64227D',1.79540692352644181252e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(6,'058ac303-2b49-4f54-b44e-7347457a2f45','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "058ac303-2b49-4f54-b44e-7347457a2f45"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.promoted.v1"], ["ce_time", "2026-11-23T04:08:43.529841Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "6"], ["ce_correlationid", "058ac303-2b49-4f54-b44e-7347457a2f45"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E312E3230323631313232222C2266726F6D5F7374616765223A2273746167696E67222C22746F5F7374616765223A2270726F64756374696F6E222C226163746F72223A22616461222C22636F6D6D656E74223A22227D',1.79540692352991032598e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(7,'5be8596d-50f3-4ad2-a33a-1c48b6716e81','deployments','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "5be8596d-50f3-4ad2-a33a-1c48b6716e81"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.deployment.wanted.v1"], ["ce_time", "2026-11-23T04:08:43.532820Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "1"], ["ce_correlationid", "5be8596d-50f3-4ad2-a33a-1c48b6716e81"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C227265766973696F6E223A312C22726F75746573223A5B7B226E616D65223A22737461626C65222C2276657273696F6E223A22312E312E3230323631313232222C22776569676874223A3130302E302C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D312E31222C226D616E69666573745F646967657374223A2230386632343866346532336233393965663236336662396535666265373337333939653837363931623031376134653338323830333763613137616235373663227D5D2C226163746F72223A22616461222C22726561736F6E223A22222C2273696E6365223A22323032362D31312D32335430343A30383A34332E3533313839375A227D',1.79540692353288936617e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(8,'d03c9582-195e-4c89-9f9e-aab7cd1cbfdc','deployments','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "d03c9582-195e-4c89-9f9e-aab7cd1cbfdc"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.deployment.wanted.v1"], ["ce_time", "2026-11-23T04:08:43.540131Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "2"], ["ce_correlationid", "d03c9582-195e-4c89-9f9e-aab7cd1cbfdc"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C227265766973696F6E223A322C22726F75746573223A5B7B226E616D65223A22737461626C65222C2276657273696F6E223A22312E312E3230323631313232222C22776569676874223A39302E302C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D312E31222C226D616E69666573745F646967657374223A2230386632343866346532336233393965663236336662396535666265373337333939653837363931623031376134653338323830333763613137616235373663227D2C7B226E616D65223A2263616E617279222C2276657273696F6E223A22312E322E3230323631313232222C22776569676874223A31302E302C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D322E31222C226D616E69666573745F646967657374223A2233356532656639353431663365623231353438653963303332323230353464613534643564313766393631313431613163303364306365643866356536346564227D5D2C226163746F72223A22616461222C22726561736F6E223A22222C2273696E6365223A22323032362D31312D32335430343A30383A34332E3533393039375A227D',1.7954069235402359962e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(9,'2df16034-38ff-4f46-873a-92193193ee5b','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "2df16034-38ff-4f46-873a-92193193ee5b"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.promoted.v1"], ["ce_time", "2026-11-23T04:08:43.544919Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "9"], ["ce_correlationid", "2df16034-38ff-4f46-873a-92193193ee5b"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C2266726F6D5F7374616765223A2273746167696E67222C22746F5F7374616765223A2270726F64756374696F6E222C226163746F72223A22616461222C22636F6D6D656E74223A22626574746572222C227265706C616365645F76657273696F6E223A22312E312E3230323631313232227D',1.79540692354500317569e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(10,'7b820eeb-3540-4c8a-a7c5-2d298c53a2e3','deployments','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "7b820eeb-3540-4c8a-a7c5-2d298c53a2e3"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.deployment.wanted.v1"], ["ce_time", "2026-11-23T04:08:43.546433Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "3"], ["ce_correlationid", "7b820eeb-3540-4c8a-a7c5-2d298c53a2e3"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C227265766973696F6E223A332C22726F75746573223A5B7B226E616D65223A22737461626C65222C2276657273696F6E223A22312E322E3230323631313232222C22776569676874223A3130302E302C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D322E31222C226D616E69666573745F646967657374223A2233356532656639353431663365623231353438653963303332323230353464613534643564313766393631313431613163303364306365643866356536346564227D5D2C226163746F72223A22616461222C22726561736F6E223A2276657273696F6E20312E322E3230323631313232207761732070726F6D6F74656420746F2070726F64756374696F6E222C2273696E6365223A22323032362D31312D32335430343A30383A34332E3534353937395A227D',1.79540692354647397994e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(11,'11883a70-0e45-424e-9d5f-64e1c4ee9dca','access','key-01a6e2840491','[["ce_specversion", "1.0"], ["ce_id", "11883a70-0e45-424e-9d5f-64e1c4ee9dca"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.access.granted.v1"], ["ce_time", "2026-11-23T04:08:43.548286Z"], ["ce_subject", "key-01a6e2840491"], ["ce_revision", "1"], ["ce_correlationid", "11883a70-0e45-424e-9d5f-64e1c4ee9dca"], ["content-type", "application/json"]]',X'7B226B65795F6964223A226B65792D303161366532383430343931222C226E616D65223A226369222C22736861323536223A2233343531313635376633316231643566626466613433396332376562666435626163396331363061303331613633663964653430333830393036376237373562222C2273636F706573223A5B2272656164225D2C226D6F64656C5F7072656669786573223A5B5D7D',1.79540692354833126068e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(12,'0a4dc0cd-ce7d-423c-b7f3-35e4a28a4b53','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "0a4dc0cd-ce7d-423c-b7f3-35e4a28a4b53"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.annotated.v1"], ["ce_time", "2026-11-23T04:08:43.549987Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "10"], ["ce_correlationid", "0a4dc0cd-ce7d-423c-b7f3-35e4a28a4b53"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E312E3230323631313232222C226465736372697074696F6E223A22746865206669727374206F6620616C6C222C226368616E676573223A22222C2274616773223A7B227465616D223A22626C7565227D2C226163746F72223A22616461227D',1.79540692355002808574e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(13,'074b74c6-b802-43f0-bc02-f0a8eaf4ee00','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "074b74c6-b802-43f0-bc02-f0a8eaf4ee00"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.aliased.v1"], ["ce_time", "2026-11-23T04:08:43.552406Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "11"], ["ce_correlationid", "074b74c6-b802-43f0-bc02-f0a8eaf4ee00"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C22616C696173223A226368616D70696F6E222C2276657273696F6E223A22312E322E3230323631313232222C226163746F72223A22616461222C22636F6D6D656E74223A22626574746572206F6E2070726F626573227D',1.79540692355244541162e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(14,'39ce6f71-b99e-4d0c-8f29-f652c9938866','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "39ce6f71-b99e-4d0c-8f29-f652c9938866"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.approval.decided.v1"], ["ce_time", "2026-11-23T04:08:43.554503Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "12"], ["ce_correlationid", "39ce6f71-b99e-4d0c-8f29-f652c9938866"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C227374616765223A2270726F64756374696F6E222C226465636973696F6E223A22617070726F7665222C226163746F72223A22626F62222C22636F6D6D656E74223A227365656E227D',1.79540692355454540251e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(15,'6edd4679-bcdd-48c0-b200-5816676597f5','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "6edd4679-bcdd-48c0-b200-5816676597f5"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.check.recorded.v1"], ["ce_time", "2026-11-23T04:08:43.556364Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "13"], ["ce_correlationid", "6edd4679-bcdd-48c0-b200-5816676597f5"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C22636865636B223A22626961732D7363616E222C22706173736564223A747275652C2264657461696C223A2272756E203137222C226163746F72223A226369227D',1.79540692355640721326e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(16,'0264883c-b6aa-4e13-b796-bc9014b15233','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "0264883c-b6aa-4e13-b796-bc9014b15233"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.control.changed.v1"], ["ce_time", "2026-11-23T04:08:43.558542Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "14"], ["ce_correlationid", "0264883c-b6aa-4e13-b796-bc9014b15233"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C22636F6E74726F6C5F6964223A2264706961222C22636F6E74726F6C223A7B227469746C65223A22496D70616374206173736573736D656E74222C226465736372697074696F6E223A22222C226F776E6572223A226361726F6C222C2265766964656E6365223A5B226D656D6F203132225D2C227374617465223A226D6574222C22726561736F6E223A22222C22737461676573223A5B5D2C22657870697265735F6174223A6E756C6C7D2C226163746F72223A226361726F6C227D',1.79540692355859398841e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(17,'9b948b17-e796-417f-b4d7-16b82adbea7d','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "9b948b17-e796-417f-b4d7-16b82adbea7d"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.policy.changed.v1"], ["ce_time", "2026-11-23T04:08:43.560285Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "15"], ["ce_correlationid", "9b948b17-e796-417f-b4d7-16b82adbea7d"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C22706F6C6963795F7265766973696F6E223A312C22706F6C696379223A7B2273746167696E67223A7B22617070726F76616C73223A302C22666F75725F65796573223A66616C73652C2272657175697265645F636865636B73223A5B5D2C22726571756972655F7369676E6174757265223A66616C73652C227369676E657273223A5B5D2C22636F6D706C69616E6365223A66616C73652C22726571756972655F6368616E676573223A747275657D2C2270726F64756374696F6E223A7B22617070726F76616C73223A302C22666F75725F65796573223A66616C73652C2272657175697265645F636865636B73223A5B5D2C22726571756972655F7369676E6174757265223A66616C73652C227369676E657273223A5B5D2C22636F6D706C69616E6365223A66616C73652C22726571756972655F6368616E676573223A747275657D2C22666F726D6572223A2261726368697665222C22726574656E74696F6E223A7B2264726F705F61726368697665645F62797465735F61667465725F64617973223A6E756C6C2C226B6565705F6E6577657374223A317D7D2C226163746F72223A22616461227D',1.7954069235603244305e+09,NULL,NULL);
CREATE TABLE passed_revisions (
	handler VARCHAR(64) NOT NULL, 
	entity VARCHAR(256) NOT NULL, 
	revision BIGINT NOT NULL, 
	PRIMARY KEY (handler, entity)
)
 WITHOUT ROWID

;
CREATE TABLE policies (
	model_id VARCHAR(128) NOT NULL, 
	revision BIGINT NOT NULL, 
	document TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	actor TEXT NOT NULL, 
	PRIMARY KEY (model_id, revision)
);
INSERT INTO "policies" VALUES('threat-classifier',1,'{"staging":{"approvals":0,"four_eyes":false,"required_checks":[],"require_signature":false,"signers":[],"compliance":false,"require_changes":true},"production":{"approvals":0,"four_eyes":false,"required_checks":[],"require_signature":false,"signers":[],"compliance":false,"require_changes":true},"former":"archive","retention":{"drop_archived_bytes_after_days":null,"keep_newest":1}}',1.79540692355923295017e+09,'ada');
CREATE TABLE registrations (
	seq INTEGER NOT NULL, 
	model_id VARCHAR(128) NOT NULL, 
	job_id VARCHAR(128) NOT NULL, 
	artifact TEXT NOT NULL, 
	manifest_digest VARCHAR(64) NOT NULL, 
	message TEXT NOT NULL, 
	envelope TEXT, 
	state VARCHAR(16) NOT NULL, 
	tries INTEGER NOT NULL, 
	next_try_at FLOAT NOT NULL, 
	version VARCHAR(32), 
	error TEXT, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (seq), 
	CONSTRAINT registrations_artifact UNIQUE (artifact, manifest_digest)
);
INSERT INTO "registrations" VALUES(1,'threat-classifier','job-3','models/threat-classifier/job-3.1','737efaf131be39b4644ca122da20440cb172ccc084559bbcd657cfc072d0daa2','{"job_id":"job-3","model_id":"threat-classifier","job":{"model_type":"threat-classifier","model_id":null,"model_name":null,"dataset_config":{"train_path":"/data/train.csv","validation_path":null,"test_path":null,"additional_paths":[],"label_column":null,"drop_columns":[],"label_map":null,"validation_fraction":0.2,"augmentation":{"enabled":false,"techniques":[]}},"model_config":{"architecture":"mlp","layers":null,"dropout":0.2,"optimizer":{"type":"adam","learning_rate":0.001,"decay":0.0},"loss":"categorical_crossentropy","metrics":["accuracy"]},"training_config":{"epochs":20,"batch_size":128,"early_stopping":{"enabled":true,"patience":5,"monitor":"val_loss","mode":"auto"},"seed":0},"holdout":null,"description":"","changes":"","tags":{}},"artifact":"models/threat-classifier/job-3.1","manifest_digest":"737efaf131be39b4644ca122da20440cb172ccc084559bbcd657cfc072d0daa2","content_digest":"4f573e2f033f11524e2c4c5315d31b12c52bf216eec319a15c0238429b064a4b","dataset_digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","metrics":{},"register_as_version":true,"notes":[],"comparison":null,"experiment_id":null,"trial":null,"cycle_id":null}',NULL,'pending',0,1.79540692357744145388e+09,NULL,NULL,1.79540692357744193071e+09);
CREATE TABLE revisions (
	kind VARCHAR(64) NOT NULL, 
	entity VARCHAR(256) NOT NULL, 
	revision BIGINT NOT NULL, 
	PRIMARY KEY (kind, entity)
)
 WITHOUT ROWID

;
INSERT INTO "revisions" VALUES('audit','',18);
INSERT INTO "revisions" VALUES('deployment','threat-classifier',3);
INSERT INTO "revisions" VALUES('key','key-01a6e2840491',1);
INSERT INTO "revisions" VALUES('key-name','1b158839f8aa339e89bb50b1603e90ec68e0fd5565fe10a7cb32729fddf7070a',1);
INSERT INTO "revisions" VALUES('model','threat-classifier',15);
CREATE TABLE signatures (
	model_id VARCHAR(128) NOT NULL, 
	version VARCHAR(32) NOT NULL, 
	key_sha256 VARCHAR(64) NOT NULL, 
	bundle TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	actor TEXT NOT NULL, 
	PRIMARY KEY (model_id, version, key_sha256)
);
CREATE TABLE signers (
	key_sha256 VARCHAR(64) NOT NULL, 
	name TEXT NOT NULL, 
	public_key TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	actor TEXT NOT NULL, 
	revoked_at FLOAT, 
	PRIMARY KEY (key_sha256)
);
INSERT INTO "signers" VALUES('8f9fb7d264ead1ed07cca83f16b7bf7158427db2a0b35e4e18d63c0262320214','release','-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEiLr6HPeA2PL+BsFQcgUR7u8OnlF0
ZNpwB4DvpeBVCgNR4+Gqb3Vhf91p1Q1w4M6nO3CORmn250HQRRBzhygkLA==
-----END PUBLIC KEY-----
',1.79540692357540798184e+09,'ada',NULL);
CREATE TABLE stage_moves (
	seq INTEGER NOT NULL, 
	model_id VARCHAR(128) NOT NULL, 
	version VARCHAR(32) NOT NULL, 
	from_stage VARCHAR(16), 
	to_stage VARCHAR(16) NOT NULL, 
	at FLOAT NOT NULL, 
	actor TEXT NOT NULL, 
	comment TEXT NOT NULL, 
	replaced_version VARCHAR(32), 
	PRIMARY KEY (seq)
);
INSERT INTO "stage_moves" VALUES(1,'threat-classifier','1.1.20261122',NULL,'draft',1.79540692349385595317e+09,'trainer','registered',NULL);
INSERT INTO "stage_moves" VALUES(2,'threat-classifier','1.1.20261122','draft','staging',1.79540692351098608967e+09,'ada','looks good',NULL);
INSERT INTO "stage_moves" VALUES(3,'threat-classifier','1.2.20261122',NULL,'draft',1.79540692351590204242e+09,'trainer','registered',NULL);
INSERT INTO "stage_moves" VALUES(4,'threat-classifier','1.2.20261122','draft','staging',1.79540692352569103244e+09,'ada','looks good',NULL);
INSERT INTO "stage_moves" VALUES(5,'threat-classifier','1.1.20261122','staging','production',1.79540692352906703947e+09,'ada','',NULL);
INSERT INTO "stage_moves" VALUES(6,'threat-classifier','1.1.20261122','production','archived',1.79540692354356408119e+09,'ada','replaced by 1.2.20261122',NULL);
INSERT INTO "stage_moves" VALUES(7,'threat-classifier','1.2.20261122','staging','production',1.79540692354396796224e+09,'ada','better','1.1.20261122');
CREATE TABLE version_metrics (
	seq BIGINT NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	value FLOAT NOT NULL, 
	PRIMARY KEY (seq, name)
)
 WITHOUT ROWID

;
INSERT INTO "version_metrics" VALUES(1,'val_accuracy',0.91);
INSERT INTO "version_metrics" VALUES(3,'val_accuracy',0.92);
CREATE TABLE version_tags (
	seq BIGINT NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	value TEXT NOT NULL, 
	head VARCHAR(64) NOT NULL, 
	PRIMARY KEY (seq, name)
)
 WITHOUT ROWID

;
INSERT INTO "version_tags" VALUES(1,'team','blue','blue');
CREATE TABLE versions (
	model_id VARCHAR(128) NOT NULL, 
	version VARCHAR(32) NOT NULL, 
	major INTEGER NOT NULL, 
	minor INTEGER NOT NULL, 
	patch INTEGER NOT NULL, 
	stage VARCHAR(16) NOT NULL, 
	stage_since FLOAT NOT NULL, 
	artifact TEXT NOT NULL, 
	manifest TEXT NOT NULL, 
	manifest_digest VARCHAR(64) NOT NULL, 
	content_digest VARCHAR(64) NOT NULL, 
	record_digest VARCHAR(64) NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	parent_version VARCHAR(32), 
	registered_at FLOAT NOT NULL, 
	registered_by TEXT NOT NULL, framework VARCHAR(64) DEFAULT '' NOT NULL, description TEXT DEFAULT '' NOT NULL, changes TEXT DEFAULT '' NOT NULL, tags TEXT DEFAULT '{}' NOT NULL, job_id VARCHAR(128), experiment_id VARCHAR(128), dataset_digest TEXT, bytes_dropped_at FLOAT, seq BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (model_id, version), 
	CONSTRAINT versions_record UNIQUE (model_id, record_digest), 
	FOREIGN KEY(model_id) REFERENCES models (id)
);
INSERT INTO "versions" VALUES('threat-classifier','1.1.20261122',1,1,20261122,'archived',1.79540692354356408119e+09,'models/threat-classifier/job-1.1','{"changes":"","content_digest":"6e01c4693929bca11ef7852da9b52612afd6622101ada7223fd70382b0805ef9","created_at":"2026-06-14T12:00:00Z","description":"","files":[{"is_model":true,"path":"model.onnx","sha256":"0000000000000000000000000000000000000000000000000000000000000001","size":1001}],"framework":"keras","hyperparameters":{"learning_rate":0.001},"lineage":{"cycle_id":null,"dataset_digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","experiment_id":null,"job_id":"job-1","parent_version":null,"trial":null},"metrics":{"val_accuracy":0.91},"model_id":"threat-classifier","model_name":"","model_type":"threat-classifier","signature":{"classes":["normal","attack"],"inputs":[{"categories":null,"dtype":"float32","filler":null,"maximum":null,"minimum":null,"name":"duration","nullable":false,"shape":[]},{"categories":null,"dtype":"string","filler":null,"maximum":null,"minimum":null,"name":"protocol","nullable":false,"shape":[]}],"outputs":[{"dtype":"float32","name":"probabilities","role":"probabilities","shape":[2]}]},"tags":{}}','08f248f4e23b399ef263fb9e5fbe737399e87691b017a4e3828037ca17ab576c','6e01c4693929bca11ef7852da9b52612afd6622101ada7223fd70382b0805ef9','b6d2b32212ac64608cb4c36b1e8cbc3a58ab28fbc4334c49b81c2cc3c59f50f7',1001,NULL,1.79540692349385595317e+09,'trainer','keras','the first of all','','{"team": "blue"}','job-1',NULL,'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd',NULL,1);
INSERT INTO "versions" VALUES('threat-classifier','1.2.20261122',1,2,20261122,'production',1.79540692354396796224e+09,'models/threat-classifier/job-2.1','{"changes":"","content_digest":"1a575ff8c6b3a651731ac8c4ba3c0cabaac81b01f05aece7a4d52b0be9774e1a","created_at":"2026-06-14T12:00:00Z","description":"","files":[{"is_model":true,"path":"model.onnx","sha256":"0000000000000000000000000000000000000000000000000000000000000002","size":1002}],"framework":"keras","hyperparameters":{"learning_rate":0.001},"lineage":{"cycle_id":null,"dataset_digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","experiment_id":null,"job_id":"job-2","parent_version":null,"trial":null},"metrics":{"val_accuracy":0.92},"model_id":"threat-classifier","model_name":"","model_type":"threat-classifier","signature":{"classes":["normal","attack"],"inputs":[{"categories":null,"dtype":"float32","filler":null,"maximum":null,"minimum":null,"name":"duration","nullable":false,"shape":[]},{"categories":null,"dtype":"string","filler":null,"maximum":null,"minimum":null,"name":"protocol","nullable":false,"shape":[]}],"outputs":[{"dtype":"float32","name":"probabilities","role":"probabilities","shape":[2]}]},"tags":{}}','35e2ef9541f3eb21548e9c03222054da54d5d17f961141a1c03d0ced8f5e64ed','1a575ff8c6b3a651731ac8c4ba3c0cabaac81b01f05aece7a4d52b0be9774e1a','82bf4ec1443d34ed070ca0846e83876f126c2e54e3e041a38314903ee0143c5b',1002,NULL,1.79540692351590204242e+09,'trainer','keras','','learnt from June''s labels','{}','job-2',NULL,'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd',NULL,3);
CREATE INDEX outbox_unpublished ON outbox (seq) WHERE published_at IS NULL AND parked IS NULL;
CREATE UNIQUE INDEX versions_order ON versions (model_id, major, minor, patch);
CREATE INDEX versions_stage ON versions (stage, model_id);
CREATE UNIQUE INDEX versions_one_in_production ON versions (model_id) WHERE stage = 'production';
CREATE INDEX stage_moves_of_model ON stage_moves (model_id, seq);
CREATE INDEX registrations_of_model ON registrations (model_id, seq);
CREATE INDEX registrations_pending ON registrations (next_try_at) WHERE state = 'pending';
CREATE INDEX version_metrics_value ON version_metrics (name, value, seq);
CREATE INDEX version_tags_value ON version_tags (name, head, seq);
CREATE INDEX aliases_of_version ON aliases (model_id, version);
CREATE INDEX aliases_named ON aliases (alias);
CREATE INDEX alias_moves_of_model ON alias_moves (model_id, alias, seq);
CREATE INDEX approvals_of_version ON approvals (model_id, version, stage, seq);
CREATE INDEX checks_of_version ON checks (model_id, version, name, seq);
CREATE INDEX blob_holders_of_artifact ON blob_holders (artifact);
CREATE INDEX versions_artifact ON versions (artifact);
CREATE INDEX versions_of_model ON versions (model_id, seq);
CREATE INDEX versions_number ON versions (major, minor, patch, seq);
CREATE INDEX versions_registered ON versions (registered_at, seq);
CREATE INDEX versions_job ON versions (job_id);
CREATE INDEX versions_experiment ON versions (experiment_id);
CREATE INDEX versions_parent ON versions (model_id, parent_version);
CREATE INDEX versions_dataset ON versions (dataset_digest);
CREATE INDEX versions_facts ON versions (seq, model_id, version, stage, framework, registered_at, registered_by, stage_since, size_bytes, job_id, experiment_id, dataset_digest, parent_version, major, minor, patch);
CREATE INDEX versions_by_model ON versions (model_id, major, minor, patch, seq);
CREATE VIRTUAL TABLE version_words USING fts5(words, tokenize='ascii', detail='none', columnsize=0);
INSERT INTO version_words(rowid, words) VALUES(1, 'threat classifier the first of all team blue');
INSERT INTO version_words(rowid, words) VALUES(3, 'threat classifier learnt from june s labels');
COMMIT;
