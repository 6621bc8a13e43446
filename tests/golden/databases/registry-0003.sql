BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
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
INSERT INTO "alias_moves" VALUES(1,'threat-classifier','champion','1.2.20261122',NULL,1795826836.22222,'ada','better on probes');
CREATE TABLE aliases (
	model_id VARCHAR(128) NOT NULL, 
	alias VARCHAR(128) NOT NULL, 
	version VARCHAR(32) NOT NULL, 
	at FLOAT NOT NULL, 
	actor TEXT NOT NULL, 
	PRIMARY KEY (model_id, alias), 
	FOREIGN KEY(model_id) REFERENCES models (id)
);
INSERT INTO "aliases" VALUES('threat-classifier','champion','1.2.20261122',1.79582683622166895871e+09,'ada');
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
INSERT INTO "api_keys" VALUES('key-e539f2ab1559','ci','3dac92c8e76a35ee4785376f8621864740e8a0ef64df06e8317f1cfe979052f7','["read"]','[]',1.7958268362110249996e+09,'ada',NULL);
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
INSERT INTO "approvals" VALUES(1,'threat-classifier','1.2.20261122','production','approve','bob','seen','2115b69d3b19b549c5ad89ec5cd4e16e3b715dc3bb9a068085bcb20d1bfd7f6b',1.7958268362318549156e+09);
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
INSERT INTO "audit" VALUES(1,1.79582683612904596328e+09,'trainer','model.registered','threat-classifier:1.1.20261122','{"manifest_digest": "08f248f4e23b399ef263fb9e5fbe737399e87691b017a4e3828037ca17ab576c"}','0000000000000000000000000000000000000000000000000000000000000000','bee3feb45b2107d83d6ba463e726edf86b351973e8c2a2c0c7378f2bdc432110');
INSERT INTO "audit" VALUES(2,1.79582683615575408936e+09,'ada','model.staging','threat-classifier:1.1.20261122','{"comment": "looks good", "from_stage": "draft"}','bee3feb45b2107d83d6ba463e726edf86b351973e8c2a2c0c7378f2bdc432110','1db49eba82490d4c48f2ed4c095a6bf43aaa01743737114a02602ea410c69930');
INSERT INTO "audit" VALUES(3,1.79582683615674591065e+09,'trainer','model.registered','threat-classifier:1.2.20261122','{"manifest_digest": "35e2ef9541f3eb21548e9c03222054da54d5d17f961141a1c03d0ced8f5e64ed"}','1db49eba82490d4c48f2ed4c095a6bf43aaa01743737114a02602ea410c69930','76c0409ef0c8c9dbf226088e0455d623e3b241efaa7c5b63743ecec87e4fe2e3');
INSERT INTO "audit" VALUES(4,1.79582683615832805631e+09,'ada','model.annotated','threat-classifier:1.2.20261122','{"after": {"changes": "learnt from June''s labels"}, "before": {"changes": ""}}','76c0409ef0c8c9dbf226088e0455d623e3b241efaa7c5b63743ecec87e4fe2e3','3201b18c97058de1e86f51e3532a1757573c6bb1e14d6765a5bc12db37e2c1a5');
INSERT INTO "audit" VALUES(5,1795826836.16708,'ada','model.staging','threat-classifier:1.2.20261122','{"comment": "looks good", "from_stage": "draft"}','3201b18c97058de1e86f51e3532a1757573c6bb1e14d6765a5bc12db37e2c1a5','5a18bb5dc3ad71e81a50dec649d6f7c7edc2d53a77d9080141086e40be89a66c');
INSERT INTO "audit" VALUES(6,1.79582683617844700817e+09,'ada','model.production','threat-classifier:1.1.20261122','{"comment": "", "from_stage": "staging"}','5a18bb5dc3ad71e81a50dec649d6f7c7edc2d53a77d9080141086e40be89a66c','cdb7f240ea344072518bb98f3b306c1b01023bdf6f19e1708dc3ad955e949e2d');
INSERT INTO "audit" VALUES(7,1.79582683619990205762e+09,'ada','deployment.wanted','threat-classifier','{"reason": "", "revision": 1, "routes": {"1.1.20261122": 100.0}}','cdb7f240ea344072518bb98f3b306c1b01023bdf6f19e1708dc3ad955e949e2d','b589958a3ebf0874a4d806180042c6ad972fe563c4d4d4f040418224a6d0f3c4');
INSERT INTO "audit" VALUES(8,1.79582683620160388944e+09,'ada','deployment.wanted','threat-classifier','{"reason": "", "revision": 2, "routes": {"1.1.20261122": 90.0, "1.2.20261122": 10.0}}','b589958a3ebf0874a4d806180042c6ad972fe563c4d4d4f040418224a6d0f3c4','b5991d88291cabf577eb0bc572260fa9062bf4489249e6e725fd39b73520b411');
INSERT INTO "audit" VALUES(9,1.79582683620715594292e+09,'ada','model.production','threat-classifier:1.2.20261122','{"comment": "better", "from_stage": "staging"}','b5991d88291cabf577eb0bc572260fa9062bf4489249e6e725fd39b73520b411','8a0c66d37e666c11141058534fa10133e1f9077fa0436f67a5612161a65ad40a');
INSERT INTO "audit" VALUES(10,1.79582683621013689044e+09,'ada','deployment.wanted','threat-classifier','{"reason": "version 1.2.20261122 was promoted to production", "revision": 3, "routes": {"1.2.20261122": 100.0}}','8a0c66d37e666c11141058534fa10133e1f9077fa0436f67a5612161a65ad40a','70750ce23163370413d8c4e2744b1a7a7564c1dca2848daab2bb21c2ffb74b7d');
INSERT INTO "audit" VALUES(11,1.79582683621973109248e+09,'ada','key.granted','key-e539f2ab1559','{"model_prefixes": [], "name": "ci", "scopes": ["read"]}','70750ce23163370413d8c4e2744b1a7a7564c1dca2848daab2bb21c2ffb74b7d','186bbd3a592955e5099017e8d8f3e042b967c249d773f43f9fe69652a2f03b4c');
INSERT INTO "audit" VALUES(12,1.79582683622089099885e+09,'ada','model.annotated','threat-classifier:1.1.20261122','{"after": {"description": "the first of all", "tags": {"team": "blue"}}, "before": {"description": "", "tags": {}}}','186bbd3a592955e5099017e8d8f3e042b967c249d773f43f9fe69652a2f03b4c','081802e3eb914b6a9bf016eb1b5869b3c8f77afb8ea1cb509a35dda7bcbe421e');
INSERT INTO "audit" VALUES(13,1.79582683622265410427e+09,'ada','model.aliased','threat-classifier@champion','{"comment": "better on probes", "previous_version": null, "version": "1.2.20261122"}','081802e3eb914b6a9bf016eb1b5869b3c8f77afb8ea1cb509a35dda7bcbe421e','b3dd64207464ad1c337f200e57aeff9282d9e5f0f44a7819694e77559f19ceb4');
INSERT INTO "audit" VALUES(14,1.79582683623244905471e+09,'bob','approval.approve','threat-classifier:1.2.20261122','{"comment": "seen", "stage": "production"}','b3dd64207464ad1c337f200e57aeff9282d9e5f0f44a7819694e77559f19ceb4','970aeb8943fdf9347c059998792e02638771fa96056692399a5e5e011a664ddf');
INSERT INTO "audit" VALUES(15,1.79582683623366188997e+09,'ci','check.recorded','threat-classifier:1.2.20261122','{"check": "bias-scan", "passed": true}','970aeb8943fdf9347c059998792e02638771fa96056692399a5e5e011a664ddf','6613aaea883ec0f953d3e99fd6ba52114d9d7b49ff07588b566f2dade9c7e5c4');
INSERT INTO "audit" VALUES(16,1.79582683623508691786e+09,'carol','control.written','threat-classifier/dpia','{"control": {"description": "", "evidence": ["memo 12"], "expires_at": null, "owner": "carol", "reason": "", "stages": [], "state": "met", "title": "Impact assessment"}}','6613aaea883ec0f953d3e99fd6ba52114d9d7b49ff07588b566f2dade9c7e5c4','6ddd102c56be61b32bd1fbc289fad418c7f35008b9b6d4d1f5bd010c14078eaa');
INSERT INTO "audit" VALUES(17,1.79582683624190688137e+09,'ada','policy.changed','threat-classifier','{"policy": {"former": "archive", "production": {"approvals": 0, "compliance": false, "four_eyes": false, "require_changes": true, "require_signature": false, "required_checks": [], "signers": []}, "retention": {"drop_archived_bytes_after_days": null, "keep_newest": 1}, "staging": {"approvals": 0, "compliance": false, "four_eyes": false, "require_changes": true, "require_signature": false, "required_checks": [], "signers": []}}, "revision": 1}','6ddd102c56be61b32bd1fbc289fad418c7f35008b9b6d4d1f5bd010c14078eaa','0659841097ec11a03b259243ebba2d2dd0262412aedaa404c87f7b29ae9469c4');
INSERT INTO "audit" VALUES(18,1.79582683678295207028e+09,'ada','signer.trusted','release','{"key_sha256": "8f9fb7d264ead1ed07cca83f16b7bf7158427db2a0b35e4e18d63c0262320214"}','0659841097ec11a03b259243ebba2d2dd0262412aedaa404c87f7b29ae9469c4','b97ed27e78a0a42920e5f3946a50a0f0d3e131031336c4867a0a2fdba017e603');
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
INSERT INTO "checks" VALUES(1,'threat-classifier','1.2.20261122','bias-scan',1,'run 17','ci',1.79582683623310804363e+09);
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
INSERT INTO "controls" VALUES('threat-classifier','dpia','{"title":"Impact assessment","description":"","owner":"carol","evidence":["memo 12"],"state":"met","reason":"","stages":[],"expires_at":null}',1.79582683623460888865e+09,'carol');
CREATE TABLE deployments (
	model_id VARCHAR(128) NOT NULL, 
	revision BIGINT NOT NULL, 
	document TEXT NOT NULL, 
	restores BIGINT, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (model_id, revision), 
	FOREIGN KEY(model_id) REFERENCES models (id)
);
INSERT INTO "deployments" VALUES('threat-classifier',1,'{"model_id":"threat-classifier","revision":1,"routes":[{"name":"stable","version":"1.1.20261122","weight":100.0,"artifact":"models/threat-classifier/job-1.1","manifest_digest":"08f248f4e23b399ef263fb9e5fbe737399e87691b017a4e3828037ca17ab576c","quantized":null}],"shadow":null,"fallback":null,"fallback_model":null,"fallback_constant":null,"sticky_key":null,"options":{"timeout_ms":null,"batch_rows":null,"queue_rows":null,"request_rows":null,"intra_op_threads":null,"memory_arena":null,"pinned":false,"cache_ttl_seconds":null,"inputs":{"unexpected":null,"missing":null,"type":null,"range":null,"category":null},"log":{"sample":1.0,"redact":{}},"circuit":null},"actor":"ada","reason":"","since":"2026-11-28T00:47:16.184595Z"}',NULL,1.79582683618459510799e+09);
INSERT INTO "deployments" VALUES('threat-classifier',2,'{"model_id":"threat-classifier","revision":2,"routes":[{"name":"stable","version":"1.1.20261122","weight":90.0,"artifact":"models/threat-classifier/job-1.1","manifest_digest":"08f248f4e23b399ef263fb9e5fbe737399e87691b017a4e3828037ca17ab576c","quantized":null},{"name":"canary","version":"1.2.20261122","weight":10.0,"artifact":"models/threat-classifier/job-2.1","manifest_digest":"35e2ef9541f3eb21548e9c03222054da54d5d17f961141a1c03d0ced8f5e64ed","quantized":null}],"shadow":null,"fallback":null,"fallback_model":null,"fallback_constant":null,"sticky_key":null,"options":{"timeout_ms":null,"batch_rows":null,"queue_rows":null,"request_rows":null,"intra_op_threads":null,"memory_arena":null,"pinned":false,"cache_ttl_seconds":null,"inputs":{"unexpected":null,"missing":null,"type":null,"range":null,"category":null},"log":{"sample":1.0,"redact":{}},"circuit":null},"actor":"ada","reason":"","since":"2026-11-28T00:47:16.201328Z"}',NULL,1.79582683620132803909e+09);
INSERT INTO "deployments" VALUES('threat-classifier',3,'{"model_id":"threat-classifier","revision":3,"routes":[{"name":"stable","version":"1.2.20261122","weight":100.0,"artifact":"models/threat-classifier/job-2.1","manifest_digest":"35e2ef9541f3eb21548e9c03222054da54d5d17f961141a1c03d0ced8f5e64ed","quantized":null}],"shadow":null,"fallback":null,"fallback_model":null,"fallback_constant":null,"sticky_key":null,"options":{"timeout_ms":null,"batch_rows":null,"queue_rows":null,"request_rows":null,"intra_op_threads":null,"memory_arena":null,"pinned":false,"cache_ttl_seconds":null,"inputs":{"unexpected":null,"missing":null,"type":null,"range":null,"category":null},"log":{"sample":1.0,"redact":{}},"circuit":null},"actor":"ada","reason":"version 1.2.20261122 was promoted to production","since":"2026-11-28T00:47:16.209898Z"}',NULL,1.79582683620989799495e+09);
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
INSERT INTO "models" VALUES('threat-classifier','','threat-classifier',1.79582683612593889234e+09);
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
INSERT INTO "outbox" VALUES(1,'f0b00dd5-cf34-48a7-891b-c1f5a109ed35','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "f0b00dd5-cf34-48a7-891b-c1f5a109ed35"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.registered.v1"], ["ce_time", "2026-11-28T00:47:16.131226Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "1"], ["ce_correlationid", "f0b00dd5-cf34-48a7-891b-c1f5a109ed35"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E312E3230323631313232222C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D312E31222C226D616E69666573745F646967657374223A2230386632343866346532336233393965663236336662396535666265373337333939653837363931623031376134653338323830333763613137616235373663222C22636F6E74656E745F646967657374223A2236653031633436393339323962636131316566373835326461396235323631326166643636323231303161646137323233666437303338326230383035656639222C226D657472696373223A7B2276616C5F6163637572616379223A302E39317D2C226A6F625F6964223A226A6F622D31227D',1.7958268361313419342e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(2,'20493791-6ed3-41e9-9248-ed5de49e21d2','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "20493791-6ed3-41e9-9248-ed5de49e21d2"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.promoted.v1"], ["ce_time", "2026-11-28T00:47:16.155976Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "2"], ["ce_correlationid", "20493791-6ed3-41e9-9248-ed5de49e21d2"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E312E3230323631313232222C2266726F6D5F7374616765223A226472616674222C22746F5F7374616765223A2273746167696E67222C226163746F72223A22616461222C22636F6D6D656E74223A226C6F6F6B7320676F6F64227D',1.7958268361560659409e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(3,'90f19ad2-e0f7-43ac-b809-8c8af394f0ab','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "90f19ad2-e0f7-43ac-b809-8c8af394f0ab"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.registered.v1"], ["ce_time", "2026-11-28T00:47:16.157215Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "3"], ["ce_correlationid", "90f19ad2-e0f7-43ac-b809-8c8af394f0ab"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D322E31222C226D616E69666573745F646967657374223A2233356532656639353431663365623231353438653963303332323230353464613534643564313766393631313431613163303364306365643866356536346564222C22636F6E74656E745F646967657374223A2231613537356666386336623361363531373331616338633462613363306361626161633831623031663035616563653761346435326230626539373734653161222C226D657472696373223A7B2276616C5F6163637572616379223A302E39327D2C226A6F625F6964223A226A6F622D32227D',1.79582683615726113315e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(4,'e76fe1e5-76ca-4508-80f4-29978dbfce90','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "e76fe1e5-76ca-4508-80f4-29978dbfce90"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.annotated.v1"], ["ce_time", "2026-11-28T00:47:16.158448Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "4"], ["ce_correlationid", "e76fe1e5-76ca-4508-80f4-29978dbfce90"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C226465736372697074696F6E223A22222C226368616E676573223A226C6561726E742066726F6D204A756E652773206C6162656C73222C2274616773223A7B7D2C226163746F72223A22616461227D',1.79582683615849041935e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(5,'61622016-44f5-48e3-a56f-61388f69ba21','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "61622016-44f5-48e3-a56f-61388f69ba21"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.promoted.v1"], ["ce_time", "2026-11-28T00:47:16.167177Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "5"], ["ce_correlationid", "61622016-44f5-48e3-a56f-61388f69ba21"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C2266726F6D5F7374616765223A226472616674222C22746F5F7374616765223A2273746167696E67222C226163746F72223A22616461222C22636F6D6D656E74223A226C6F6F6B7320676F6F64227D',1.79582683616722822185e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(6,'cd265ff3-e82a-420c-8bf6-152e6d103eab','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "cd265ff3-e82a-420c-8bf6-152e6d103eab"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.promoted.v1"], ["ce_time", "2026-11-28T00:47:16.178556Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "6"], ["ce_correlationid", "cd265ff3-e82a-420c-8bf6-152e6d103eab"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E312E3230323631313232222C2266726F6D5F7374616765223A2273746167696E67222C22746F5F7374616765223A2270726F64756374696F6E222C226163746F72223A22616461222C22636F6D6D656E74223A22227D',1.79582683617861819263e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(7,'bbe8326e-6204-4d1b-bb88-7ff25f7e20c9','deployments','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "bbe8326e-6204-4d1b-bb88-7ff25f7e20c9"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.deployment.wanted.v1"], ["ce_time", "2026-11-28T00:47:16.200090Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "1"], ["ce_correlationid", "bbe8326e-6204-4d1b-bb88-7ff25f7e20c9"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C227265766973696F6E223A312C22726F75746573223A5B7B226E616D65223A22737461626C65222C2276657273696F6E223A22312E312E3230323631313232222C22776569676874223A3130302E302C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D312E31222C226D616E69666573745F646967657374223A2230386632343866346532336233393965663236336662396535666265373337333939653837363931623031376134653338323830333763613137616235373663227D5D2C226F7074696F6E73223A7B2270696E6E6564223A66616C73652C22696E70757473223A7B7D2C226C6F67223A7B2273616D706C65223A312E302C22726564616374223A7B7D7D7D2C226163746F72223A22616461222C22726561736F6E223A22222C2273696E6365223A22323032362D31312D32385430303A34373A31362E3138343539355A227D',1.79582683620020627972e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(8,'0f4343eb-f6f6-4301-ae38-040db56d7512','deployments','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "0f4343eb-f6f6-4301-ae38-040db56d7512"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.deployment.wanted.v1"], ["ce_time", "2026-11-28T00:47:16.201697Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "2"], ["ce_correlationid", "0f4343eb-f6f6-4301-ae38-040db56d7512"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C227265766973696F6E223A322C22726F75746573223A5B7B226E616D65223A22737461626C65222C2276657273696F6E223A22312E312E3230323631313232222C22776569676874223A39302E302C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D312E31222C226D616E69666573745F646967657374223A2230386632343866346532336233393965663236336662396535666265373337333939653837363931623031376134653338323830333763613137616235373663227D2C7B226E616D65223A2263616E617279222C2276657273696F6E223A22312E322E3230323631313232222C22776569676874223A31302E302C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D322E31222C226D616E69666573745F646967657374223A2233356532656639353431663365623231353438653963303332323230353464613534643564313766393631313431613163303364306365643866356536346564227D5D2C226F7074696F6E73223A7B2270696E6E6564223A66616C73652C22696E70757473223A7B7D2C226C6F67223A7B2273616D706C65223A312E302C22726564616374223A7B7D7D7D2C226163746F72223A22616461222C22726561736F6E223A22222C2273696E6365223A22323032362D31312D32385430303A34373A31362E3230313332385A227D',1.795826836201751709e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(9,'cd73ba6f-aa2a-47eb-af44-7f12b4d7f98c','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "cd73ba6f-aa2a-47eb-af44-7f12b4d7f98c"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.promoted.v1"], ["ce_time", "2026-11-28T00:47:16.207287Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "9"], ["ce_correlationid", "cd73ba6f-aa2a-47eb-af44-7f12b4d7f98c"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C2266726F6D5F7374616765223A2273746167696E67222C22746F5F7374616765223A2270726F64756374696F6E222C226163746F72223A22616461222C22636F6D6D656E74223A22626574746572222C227265706C616365645F76657273696F6E223A22312E312E3230323631313232227D',1.79582683620733571045e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(10,'51c72533-3915-4751-b246-18f7a257aea7','deployments','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "51c72533-3915-4751-b246-18f7a257aea7"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.deployment.wanted.v1"], ["ce_time", "2026-11-28T00:47:16.210218Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "3"], ["ce_correlationid", "51c72533-3915-4751-b246-18f7a257aea7"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C227265766973696F6E223A332C22726F75746573223A5B7B226E616D65223A22737461626C65222C2276657273696F6E223A22312E322E3230323631313232222C22776569676874223A3130302E302C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D322E31222C226D616E69666573745F646967657374223A2233356532656639353431663365623231353438653963303332323230353464613534643564313766393631313431613163303364306365643866356536346564227D5D2C226F7074696F6E73223A7B2270696E6E6564223A66616C73652C22696E70757473223A7B7D2C226C6F67223A7B2273616D706C65223A312E302C22726564616374223A7B7D7D7D2C226163746F72223A22616461222C22726561736F6E223A2276657273696F6E20312E322E3230323631313232207761732070726F6D6F74656420746F2070726F64756374696F6E222C2273696E6365223A22323032362D31312D32385430303A34373A31362E3230393839385A227D',1.79582683621025586124e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(11,'f65f0ff8-1747-4e8a-a2e2-3bcf3a760b7b','access','key-e539f2ab1559','[["ce_specversion", "1.0"], ["ce_id", "f65f0ff8-1747-4e8a-a2e2-3bcf3a760b7b"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.access.granted.v1"], ["ce_time", "2026-11-28T00:47:16.219870Z"], ["ce_subject", "key-e539f2ab1559"], ["ce_revision", "1"], ["ce_correlationid", "f65f0ff8-1747-4e8a-a2e2-3bcf3a760b7b"], ["content-type", "application/json"]]',X'7B226B65795F6964223A226B65792D653533396632616231353539222C226E616D65223A226369222C22736861323536223A2233646163393263386537366133356565343738353337366638363231383634373430653861306566363464663036653833313766316366653937393035326637222C2273636F706573223A5B2272656164225D2C226D6F64656C5F7072656669786573223A5B5D7D',1.79582683621992874149e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(12,'f5b87823-2c6b-4480-95a3-51e407682581','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "f5b87823-2c6b-4480-95a3-51e407682581"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.annotated.v1"], ["ce_time", "2026-11-28T00:47:16.220980Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "10"], ["ce_correlationid", "f5b87823-2c6b-4480-95a3-51e407682581"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E312E3230323631313232222C226465736372697074696F6E223A22746865206669727374206F6620616C6C222C226368616E676573223A22222C2274616773223A7B227465616D223A22626C7565227D2C226163746F72223A22616461227D',1.79582683622101807593e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(13,'4a0ba2d5-3125-4539-be9b-eaeae2764e62','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "4a0ba2d5-3125-4539-be9b-eaeae2764e62"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.aliased.v1"], ["ce_time", "2026-11-28T00:47:16.222774Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "11"], ["ce_correlationid", "4a0ba2d5-3125-4539-be9b-eaeae2764e62"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C22616C696173223A226368616D70696F6E222C2276657273696F6E223A22312E322E3230323631313232222C226163746F72223A22616461222C22636F6D6D656E74223A22626574746572206F6E2070726F626573227D',1.79582683622281026841e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(14,'66ec0505-72ff-4269-bcc6-249de15b868d','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "66ec0505-72ff-4269-bcc6-249de15b868d"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.approval.decided.v1"], ["ce_time", "2026-11-28T00:47:16.232585Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "12"], ["ce_correlationid", "66ec0505-72ff-4269-bcc6-249de15b868d"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C227374616765223A2270726F64756374696F6E222C226465636973696F6E223A22617070726F7665222C226163746F72223A22626F62222C22636F6D6D656E74223A227365656E227D',1.79582683623263359069e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(15,'1decfa20-8b0f-40cc-b212-d8c86c168ee5','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "1decfa20-8b0f-40cc-b212-d8c86c168ee5"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.check.recorded.v1"], ["ce_time", "2026-11-28T00:47:16.233775Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "13"], ["ce_correlationid", "1decfa20-8b0f-40cc-b212-d8c86c168ee5"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C22636865636B223A22626961732D7363616E222C22706173736564223A747275652C2264657461696C223A2272756E203137222C226163746F72223A226369227D',1.79582683623380827907e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(16,'e6330b1a-5dfc-4f8a-96e5-cf9165a03e01','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "e6330b1a-5dfc-4f8a-96e5-cf9165a03e01"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.control.changed.v1"], ["ce_time", "2026-11-28T00:47:16.235187Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "14"], ["ce_correlationid", "e6330b1a-5dfc-4f8a-96e5-cf9165a03e01"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C22636F6E74726F6C5F6964223A2264706961222C22636F6E74726F6C223A7B227469746C65223A22496D70616374206173736573736D656E74222C226465736372697074696F6E223A22222C226F776E6572223A226361726F6C222C2265766964656E6365223A5B226D656D6F203132225D2C227374617465223A226D6574222C22726561736F6E223A22222C22737461676573223A5B5D2C22657870697265735F6174223A6E756C6C7D2C226163746F72223A226361726F6C227D',1.79582683623522233965e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(17,'fc466588-ef05-4be3-a473-df1f122e061f','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "fc466588-ef05-4be3-a473-df1f122e061f"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.policy.changed.v1"], ["ce_time", "2026-11-28T00:47:16.242043Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "15"], ["ce_correlationid", "fc466588-ef05-4be3-a473-df1f122e061f"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C22706F6C6963795F7265766973696F6E223A312C22706F6C696379223A7B2273746167696E67223A7B22617070726F76616C73223A302C22666F75725F65796573223A66616C73652C2272657175697265645F636865636B73223A5B5D2C22726571756972655F7369676E6174757265223A66616C73652C227369676E657273223A5B5D2C22636F6D706C69616E6365223A66616C73652C22726571756972655F6368616E676573223A747275657D2C2270726F64756374696F6E223A7B22617070726F76616C73223A302C22666F75725F65796573223A66616C73652C2272657175697265645F636865636B73223A5B5D2C22726571756972655F7369676E6174757265223A66616C73652C227369676E657273223A5B5D2C22636F6D706C69616E6365223A66616C73652C22726571756972655F6368616E676573223A747275657D2C22666F726D6572223A2261726368697665222C22726574656E74696F6E223A7B2264726F705F61726368697665645F62797465735F61667465725F64617973223A6E756C6C2C226B6565705F6E6577657374223A317D7D2C226163746F72223A22616461227D',1.79582683624208498001e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(18,'2211a56d-fcc9-45b8-9ac9-e0577ed40cf8','model-events','*','[["ce_specversion", "1.0"], ["ce_id", "2211a56d-fcc9-45b8-9ac9-e0577ed40cf8"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.signer.changed.v1"], ["ce_time", "2026-11-28T00:47:16.783100Z"], ["ce_subject", "*"], ["ce_revision", "1"], ["ce_correlationid", "2211a56d-fcc9-45b8-9ac9-e0577ed40cf8"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A222A222C227369676E6572223A2272656C65617365222C226B65795F736861323536223A2238663966623764323634656164316564303763636138336631366237626637313538343237646232613062333565346531386436336330323632333230323134222C2274727573746564223A747275652C22726561736F6E223A22222C226163746F72223A22616461227D',1.79582683678317356107e+09,NULL,NULL);
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
INSERT INTO "policies" VALUES('threat-classifier',1,'{"staging":{"approvals":0,"four_eyes":false,"required_checks":[],"require_signature":false,"signers":[],"compliance":false,"require_changes":true},"production":{"approvals":0,"four_eyes":false,"required_checks":[],"require_signature":false,"signers":[],"compliance":false,"require_changes":true},"former":"archive","retention":{"drop_archived_bytes_after_days":null,"keep_newest":1}}',1.79582683624129891392e+09,'ada');
CREATE TABLE quantizations (
	model_sha256 VARCHAR(64) NOT NULL, 
	sample_sha256 VARCHAR(64) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	quantizer INTEGER NOT NULL, 
	graph_sha256 VARCHAR(64) NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	report TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (model_sha256, sample_sha256, kind, quantizer)
);
INSERT INTO "quantizations" VALUES('0000000000000000000000000000000000000000000000000000000000000002','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','int8',1,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',700,'{"kind":"int8","metric":"disagreement","rows":1000,"loss":0.002,"bound":0.01,"max_difference":0.03,"bytes_before":1002,"bytes_after":700,"seconds_before":0.004,"seconds_after":0.003}',1.79582683678335642812e+09);
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
INSERT INTO "registrations" VALUES(1,'threat-classifier','job-3','models/threat-classifier/job-3.1','737efaf131be39b4644ca122da20440cb172ccc084559bbcd657cfc072d0daa2','{"job_id":"job-3","model_id":"threat-classifier","job":{"model_type":"threat-classifier","model_id":null,"model_name":null,"dataset_config":{"train_path":"/data/train.csv","validation_path":null,"test_path":null,"additional_paths":[],"label_column":null,"drop_columns":[],"label_map":null,"validation_fraction":0.2,"augmentation":{"enabled":false,"techniques":[]}},"model_config":{"architecture":"mlp","layers":null,"dropout":0.2,"optimizer":{"type":"adam","learning_rate":0.001,"decay":0.0},"loss":"categorical_crossentropy","metrics":["accuracy"]},"training_config":{"epochs":20,"batch_size":128,"early_stopping":{"enabled":true,"patience":5,"monitor":"val_loss","mode":"auto"},"seed":0},"holdout":null,"description":"","changes":"","tags":{}},"artifact":"models/threat-classifier/job-3.1","manifest_digest":"737efaf131be39b4644ca122da20440cb172ccc084559bbcd657cfc072d0daa2","content_digest":"4f573e2f033f11524e2c4c5315d31b12c52bf216eec319a15c0238429b064a4b","dataset_digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","metrics":{},"register_as_version":true,"notes":[],"comparison":null,"requested_by":"","experiment_id":null,"trial":null,"cycle_id":null}',NULL,'pending',0,1.79582683679649877548e+09,NULL,NULL,1.79582683679649901392e+09);
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
INSERT INTO "revisions" VALUES('key','key-e539f2ab1559',1);
INSERT INTO "revisions" VALUES('key-name','1b158839f8aa339e89bb50b1603e90ec68e0fd5565fe10a7cb32729fddf7070a',1);
INSERT INTO "revisions" VALUES('model','*',1);
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
',1.79582683678223299977e+09,'ada',NULL);
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
INSERT INTO "stage_moves" VALUES(1,'threat-classifier','1.1.20261122',NULL,'draft',1.79582683612593889234e+09,'trainer','registered',NULL);
INSERT INTO "stage_moves" VALUES(2,'threat-classifier','1.1.20261122','draft','staging',1795826836.15462,'ada','looks good',NULL);
INSERT INTO "stage_moves" VALUES(3,'threat-classifier','1.2.20261122',NULL,'draft',1795826836.15639,'trainer','registered',NULL);
INSERT INTO "stage_moves" VALUES(4,'threat-classifier','1.2.20261122','draft','staging',1.7958268361667180062e+09,'ada','looks good',NULL);
INSERT INTO "stage_moves" VALUES(5,'threat-classifier','1.1.20261122','staging','production',1.79582683617805504792e+09,'ada','',NULL);
INSERT INTO "stage_moves" VALUES(6,'threat-classifier','1.1.20261122','production','archived',1.79582683620652508731e+09,'ada','replaced by 1.2.20261122',NULL);
INSERT INTO "stage_moves" VALUES(7,'threat-classifier','1.2.20261122','staging','production',1.79582683620685791972e+09,'ada','better','1.1.20261122');
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
INSERT INTO "versions" VALUES('threat-classifier','1.1.20261122',1,1,20261122,'archived',1.79582683620652508731e+09,'models/threat-classifier/job-1.1','{"changes":"","content_digest":"6e01c4693929bca11ef7852da9b52612afd6622101ada7223fd70382b0805ef9","created_at":"2026-06-14T12:00:00Z","description":"","files":[{"is_model":true,"path":"model.onnx","sha256":"0000000000000000000000000000000000000000000000000000000000000001","size":1001}],"framework":"keras","hyperparameters":{"learning_rate":0.001},"lineage":{"cycle_id":null,"dataset_digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","experiment_id":null,"job_id":"job-1","parent_version":null,"trial":null},"metrics":{"val_accuracy":0.91},"model_id":"threat-classifier","model_name":"","model_type":"threat-classifier","signature":{"classes":["normal","attack"],"inputs":[{"categories":null,"dtype":"float32","filler":null,"maximum":null,"minimum":null,"name":"duration","nullable":false,"shape":[]},{"categories":null,"dtype":"string","filler":null,"maximum":null,"minimum":null,"name":"protocol","nullable":false,"shape":[]}],"outputs":[{"dtype":"float32","name":"probabilities","role":"probabilities","shape":[2]}]},"tags":{}}','08f248f4e23b399ef263fb9e5fbe737399e87691b017a4e3828037ca17ab576c','6e01c4693929bca11ef7852da9b52612afd6622101ada7223fd70382b0805ef9','b6d2b32212ac64608cb4c36b1e8cbc3a58ab28fbc4334c49b81c2cc3c59f50f7',1001,NULL,1.79582683612593889234e+09,'trainer','keras','the first of all','','{"team": "blue"}','job-1',NULL,'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd',NULL,1);
INSERT INTO "versions" VALUES('threat-classifier','1.2.20261122',1,2,20261122,'production',1.79582683620685791972e+09,'models/threat-classifier/job-2.1','{"changes":"","content_digest":"1a575ff8c6b3a651731ac8c4ba3c0cabaac81b01f05aece7a4d52b0be9774e1a","created_at":"2026-06-14T12:00:00Z","description":"","files":[{"is_model":true,"path":"model.onnx","sha256":"0000000000000000000000000000000000000000000000000000000000000002","size":1002}],"framework":"keras","hyperparameters":{"learning_rate":0.001},"lineage":{"cycle_id":null,"dataset_digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","experiment_id":null,"job_id":"job-2","parent_version":null,"trial":null},"metrics":{"val_accuracy":0.92},"model_id":"threat-classifier","model_name":"","model_type":"threat-classifier","signature":{"classes":["normal","attack"],"inputs":[{"categories":null,"dtype":"float32","filler":null,"maximum":null,"minimum":null,"name":"duration","nullable":false,"shape":[]},{"categories":null,"dtype":"string","filler":null,"maximum":null,"minimum":null,"name":"protocol","nullable":false,"shape":[]}],"outputs":[{"dtype":"float32","name":"probabilities","role":"probabilities","shape":[2]}]},"tags":{}}','35e2ef9541f3eb21548e9c03222054da54d5d17f961141a1c03d0ced8f5e64ed','1a575ff8c6b3a651731ac8c4ba3c0cabaac81b01f05aece7a4d52b0be9774e1a','82bf4ec1443d34ed070ca0846e83876f126c2e54e3e041a38314903ee0143c5b',1002,NULL,1795826836.15639,'trainer','keras','','learnt from June''s labels','{}','job-2',NULL,'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd',NULL,3);
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
