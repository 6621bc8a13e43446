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
INSERT INTO "alias_moves" VALUES(1,'threat-classifier','champion','1.2.20261122',NULL,1.79540611996393895143e+09,'ada','better on probes');
CREATE TABLE aliases (
	model_id VARCHAR(128) NOT NULL, 
	alias VARCHAR(128) NOT NULL, 
	version VARCHAR(32) NOT NULL, 
	at FLOAT NOT NULL, 
	actor TEXT NOT NULL, 
	PRIMARY KEY (model_id, alias), 
	FOREIGN KEY(model_id) REFERENCES models (id)
);
INSERT INTO "aliases" VALUES('threat-classifier','champion','1.2.20261122',1795406119.95272,'ada');
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
INSERT INTO "api_keys" VALUES('key-407003d7aee8','ci','50a3b1294f2dd3a83ffe5b6cd4ef016179e00aca6d5c746ae9fd7fa1a2269de8','["read"]','[]',1795406119.92589,'ada',NULL);
CREATE TABLE approvals (
	seq INTEGER NOT NULL, 
	model_id VARCHAR(128) NOT NULL, 
	version VARCHAR(32) NOT NULL, 
	stage VARCHAR(16) NOT NULL, 
	decision VARCHAR(16) NOT NULL, 
	actor TEXT NOT NULL, 
	comment TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (seq)
);
INSERT INTO "approvals" VALUES(1,'threat-classifier','1.2.20261122','production','approve','bob','seen',1.79540612000406789782e+09);
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
INSERT INTO "audit" VALUES(1,1.79540611982449603081e+09,'trainer','model.registered','threat-classifier:1.1.20261122','{"manifest_digest": "08f248f4e23b399ef263fb9e5fbe737399e87691b017a4e3828037ca17ab576c"}','0000000000000000000000000000000000000000000000000000000000000000','f54ceccdf143a464240271333f5e107f9d8eca623018160dd85790014aca21e9');
INSERT INTO "audit" VALUES(2,1.79540611987797904015e+09,'ada','model.staging','threat-classifier:1.1.20261122','{"comment": "looks good", "from_stage": "draft"}','f54ceccdf143a464240271333f5e107f9d8eca623018160dd85790014aca21e9','786d31ec3872191f3788bd1ffb79697b292d9065b5d7a77e8f413b076ba01277');
INSERT INTO "audit" VALUES(3,1.79540611987967491146e+09,'trainer','model.registered','threat-classifier:1.2.20261122','{"manifest_digest": "35e2ef9541f3eb21548e9c03222054da54d5d17f961141a1c03d0ced8f5e64ed"}','786d31ec3872191f3788bd1ffb79697b292d9065b5d7a77e8f413b076ba01277','719be82960f017895c0418e52ac00792d885714fb24a6ddde568ac8632ffdff7');
INSERT INTO "audit" VALUES(4,1.79540611988823390005e+09,'ada','model.annotated','threat-classifier:1.2.20261122','{"after": {"changes": "learnt from June''s labels"}, "before": {"changes": ""}}','719be82960f017895c0418e52ac00792d885714fb24a6ddde568ac8632ffdff7','c993e48427b9681cec17eb3efbfef9b8bab7209ddfb273455cd1b0b0917c1a75');
INSERT INTO "audit" VALUES(5,1.79540611989159107214e+09,'ada','model.staging','threat-classifier:1.2.20261122','{"comment": "looks good", "from_stage": "draft"}','c993e48427b9681cec17eb3efbfef9b8bab7209ddfb273455cd1b0b0917c1a75','315b0b3a8b81bfaf0cae3a39f47553a0ee710a8d6e489427b3c3b5a7d27015ea');
INSERT INTO "audit" VALUES(6,1.79540611989503097532e+09,'ada','model.production','threat-classifier:1.1.20261122','{"comment": "", "from_stage": "staging"}','315b0b3a8b81bfaf0cae3a39f47553a0ee710a8d6e489427b3c3b5a7d27015ea','d2908066aa990d446c0670159c9e239c7e5be6e231f379397847c15b8e56a17a');
INSERT INTO "audit" VALUES(7,1.795406119898152113e+09,'ada','deployment.wanted','threat-classifier','{"reason": "", "revision": 1, "routes": {"1.1.20261122": 100.0}}','d2908066aa990d446c0670159c9e239c7e5be6e231f379397847c15b8e56a17a','dc4e11d21ae24069d825e87d560bfdebec8eea947d1268e75a3495e3a6d8cc38');
INSERT INTO "audit" VALUES(8,1.79540611989981389049e+09,'ada','deployment.wanted','threat-classifier','{"reason": "", "revision": 2, "routes": {"1.1.20261122": 90.0, "1.2.20261122": 10.0}}','dc4e11d21ae24069d825e87d560bfdebec8eea947d1268e75a3495e3a6d8cc38','824d75878d186ddb54ab09c23a53f64e1d7683291c0c0d9171e62e1599a7ea8b');
INSERT INTO "audit" VALUES(9,1.79540611990803098676e+09,'ada','model.production','threat-classifier:1.2.20261122','{"comment": "better", "from_stage": "staging"}','824d75878d186ddb54ab09c23a53f64e1d7683291c0c0d9171e62e1599a7ea8b','0567fc4bfdb1a8bff0d1ce4342cf6f87cbcfe31fab3a9d17a4f3404b95940121');
INSERT INTO "audit" VALUES(10,1.79540611992552900317e+09,'ada','deployment.wanted','threat-classifier','{"reason": "version 1.2.20261122 was promoted to production", "revision": 3, "routes": {"1.2.20261122": 100.0}}','0567fc4bfdb1a8bff0d1ce4342cf6f87cbcfe31fab3a9d17a4f3404b95940121','9b4963acd92cf3fff5ee500f27973dfacb5330e76d51ff294ec047545e36e32f');
INSERT INTO "audit" VALUES(11,1.79540611992668199536e+09,'ada','key.granted','key-407003d7aee8','{"name": "ci", "scopes": ["read"]}','9b4963acd92cf3fff5ee500f27973dfacb5330e76d51ff294ec047545e36e32f','8f4f656f0de4f741db59293c537277db803c8b8799587a037361593826e97b62');
INSERT INTO "audit" VALUES(12,1.79540611994009804723e+09,'ada','model.annotated','threat-classifier:1.1.20261122','{"after": {"description": "the first of all", "tags": {"team": "blue"}}, "before": {"description": "", "tags": {}}}','8f4f656f0de4f741db59293c537277db803c8b8799587a037361593826e97b62','dca6d8290e5baa24ad683506757c6977b59355508b515363af0c3e3ae8b4dceb');
INSERT INTO "audit" VALUES(13,1.79540611999097800255e+09,'ada','model.aliased','threat-classifier@champion','{"comment": "better on probes", "previous_version": null, "version": "1.2.20261122"}','dca6d8290e5baa24ad683506757c6977b59355508b515363af0c3e3ae8b4dceb','f33dd8b7d6ea1b26f822aa923aeef2604de6d85cbe5a45a2a3eecb91533f9048');
INSERT INTO "audit" VALUES(14,1.79540612000872707365e+09,'bob','approval.approve','threat-classifier:1.2.20261122','{"comment": "seen", "stage": "production"}','f33dd8b7d6ea1b26f822aa923aeef2604de6d85cbe5a45a2a3eecb91533f9048','ee9a4748c5172ade33c87d6c95a437449bb845f875379b09e26f2e56d555712e');
INSERT INTO "audit" VALUES(15,1.7954061200110440254e+09,'ci','check.recorded','threat-classifier:1.2.20261122','{"check": "bias-scan", "passed": true}','ee9a4748c5172ade33c87d6c95a437449bb845f875379b09e26f2e56d555712e','d6d08fbeb3b0696d700ebef9a2fbd37d8e04af8da9693203f0936997309b17f3');
INSERT INTO "audit" VALUES(16,1.79540612002441811565e+09,'carol','control.written','threat-classifier/dpia','{"control": {"description": "", "evidence": ["memo 12"], "expires_at": null, "owner": "carol", "reason": "", "stages": [], "state": "met", "title": "Impact assessment"}}','d6d08fbeb3b0696d700ebef9a2fbd37d8e04af8da9693203f0936997309b17f3','6c4c4db493ef30e84c6cbbb7f8a1e4472f340a9d81561eb18a02c0db4e1f1fe1');
INSERT INTO "audit" VALUES(17,1.79540612003650403025e+09,'ada','policy.changed','threat-classifier','{"policy": {"former": "archive", "production": {"approvals": 0, "compliance": false, "four_eyes": false, "require_changes": true, "require_signature": false, "required_checks": [], "signers": []}, "retention": {"drop_archived_bytes_after_days": null, "keep_newest": 1}, "staging": {"approvals": 0, "compliance": false, "four_eyes": false, "require_changes": true, "require_signature": false, "required_checks": [], "signers": []}}, "revision": 1}','6c4c4db493ef30e84c6cbbb7f8a1e4472f340a9d81561eb18a02c0db4e1f1fe1','472a9f506c27b5433143711b75a0c602215d2e52e27a2533bfdfe4812586f609');
INSERT INTO "audit" VALUES(18,1.7954061201798911095e+09,'ada','signer.trusted','release','{"key_sha256": "8f9fb7d264ead1ed07cca83f16b7bf7158427db2a0b35e4e18d63c0262320214"}','472a9f506c27b5433143711b75a0c602215d2e52e27a2533bfdfe4812586f609','99aedb823118f8f2c4e4ec551c3856583f9a34d995f716114a055b01293cc5b3');
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
INSERT INTO "checks" VALUES(1,'threat-classifier','1.2.20261122','bias-scan',1,'run 17','ci',1.79540612001012301439e+09);
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
INSERT INTO "controls" VALUES('threat-classifier','dpia','{"title":"Impact assessment","description":"","owner":"carol","evidence":["memo 12"],"state":"met","reason":"","stages":[],"expires_at":null}',1.79540612001243710515e+09,'carol');
CREATE TABLE deployments (
	model_id VARCHAR(128) NOT NULL, 
	revision BIGINT NOT NULL, 
	document TEXT NOT NULL, 
	restores BIGINT, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (model_id, revision), 
	FOREIGN KEY(model_id) REFERENCES models (id)
);
INSERT INTO "deployments" VALUES('threat-classifier',1,'{"model_id":"threat-classifier","revision":1,"routes":[{"name":"stable","version":"1.1.20261122","weight":100.0,"artifact":"models/threat-classifier/job-1.1","manifest_digest":"08f248f4e23b399ef263fb9e5fbe737399e87691b017a4e3828037ca17ab576c"}],"shadow":null,"fallback":null,"sticky_key":null,"actor":"ada","reason":"","since":"2026-11-23T03:55:19.897332Z"}',NULL,1.79540611989733195309e+09);
INSERT INTO "deployments" VALUES('threat-classifier',2,'{"model_id":"threat-classifier","revision":2,"routes":[{"name":"stable","version":"1.1.20261122","weight":90.0,"artifact":"models/threat-classifier/job-1.1","manifest_digest":"08f248f4e23b399ef263fb9e5fbe737399e87691b017a4e3828037ca17ab576c"},{"name":"canary","version":"1.2.20261122","weight":10.0,"artifact":"models/threat-classifier/job-2.1","manifest_digest":"35e2ef9541f3eb21548e9c03222054da54d5d17f961141a1c03d0ced8f5e64ed"}],"shadow":null,"fallback":null,"sticky_key":null,"actor":"ada","reason":"","since":"2026-11-23T03:55:19.899480Z"}',NULL,1795406119.89948);
INSERT INTO "deployments" VALUES('threat-classifier',3,'{"model_id":"threat-classifier","revision":3,"routes":[{"name":"stable","version":"1.2.20261122","weight":100.0,"artifact":"models/threat-classifier/job-2.1","manifest_digest":"35e2ef9541f3eb21548e9c03222054da54d5d17f961141a1c03d0ced8f5e64ed"}],"shadow":null,"fallback":null,"sticky_key":null,"actor":"ada","reason":"version 1.2.20261122 was promoted to production","since":"2026-11-23T03:55:19.925065Z"}',NULL,1.79540611992506504062e+09);
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
INSERT INTO "models" VALUES('threat-classifier','','threat-classifier',1.79540611981533789636e+09);
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
INSERT INTO "outbox" VALUES(1,'c8902d6e-7fb6-46c7-9f05-567a855930a9','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "c8902d6e-7fb6-46c7-9f05-567a855930a9"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.registered.v1"], ["ce_time", "2026-11-23T03:55:19.836552Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "1"], ["ce_correlationid", "c8902d6e-7fb6-46c7-9f05-567a855930a9"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E312E3230323631313232222C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D312E31222C226D616E69666573745F646967657374223A2230386632343866346532336233393965663236336662396535666265373337333939653837363931623031376134653338323830333763613137616235373663222C22636F6E74656E745F646967657374223A2236653031633436393339323962636131316566373835326461396235323631326166643636323231303161646137323233666437303338326230383035656639222C226D657472696373223A7B2276616C5F6163637572616379223A302E39317D2C226A6F625F6964223A226A6F622D31227D',1.79540611984349107741e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(2,'ea76e7ba-77bb-4cee-a83f-177be622dcdd','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "ea76e7ba-77bb-4cee-a83f-177be622dcdd"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.promoted.v1"], ["ce_time", "2026-11-23T03:55:19.878249Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "2"], ["ce_correlationid", "ea76e7ba-77bb-4cee-a83f-177be622dcdd"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E312E3230323631313232222C2266726F6D5F7374616765223A226472616674222C22746F5F7374616765223A2273746167696E67222C226163746F72223A22616461222C22636F6D6D656E74223A226C6F6F6B7320676F6F64227D',1.79540611987834596635e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(3,'893cae69-c46a-4929-801c-5cf4a127f280','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "893cae69-c46a-4929-801c-5cf4a127f280"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.registered.v1"], ["ce_time", "2026-11-23T03:55:19.880437Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "3"], ["ce_correlationid", "893cae69-c46a-4929-801c-5cf4a127f280"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D322E31222C226D616E69666573745F646967657374223A2233356532656639353431663365623231353438653963303332323230353464613534643564313766393631313431613163303364306365643866356536346564222C22636F6E74656E745F646967657374223A2231613537356666386336623361363531373331616338633462613363306361626161633831623031663035616563653761346435326230626539373734653161222C226D657472696373223A7B2276616C5F6163637572616379223A302E39327D2C226A6F625F6964223A226A6F622D32227D',1.79540611988049721723e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(4,'7caeb1de-8063-4fe8-bbd2-81166caf6627','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "7caeb1de-8063-4fe8-bbd2-81166caf6627"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.annotated.v1"], ["ce_time", "2026-11-23T03:55:19.888483Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "4"], ["ce_correlationid", "7caeb1de-8063-4fe8-bbd2-81166caf6627"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C226465736372697074696F6E223A22222C226368616E676573223A226C6561726E742066726F6D204A756E652773206C6162656C73222C2274616773223A7B7D2C226163746F72223A22616461227D',1.79540611988856911663e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(5,'9557248f-6384-4f34-abd6-e0c059a67a38','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "9557248f-6384-4f34-abd6-e0c059a67a38"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.promoted.v1"], ["ce_time", "2026-11-23T03:55:19.891750Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "5"], ["ce_correlationid", "9557248f-6384-4f34-abd6-e0c059a67a38"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C2266726F6D5F7374616765223A226472616674222C22746F5F7374616765223A2273746167696E67222C226163746F72223A22616461222C22636F6D6D656E74223A226C6F6F6B7320676F6F64227D',1.79540611989183020594e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(6,'057313ec-f79f-474c-85e7-01e8b7c96a15','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "057313ec-f79f-474c-85e7-01e8b7c96a15"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.promoted.v1"], ["ce_time", "2026-11-23T03:55:19.895170Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "6"], ["ce_correlationid", "057313ec-f79f-474c-85e7-01e8b7c96a15"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E312E3230323631313232222C2266726F6D5F7374616765223A2273746167696E67222C22746F5F7374616765223A2270726F64756374696F6E222C226163746F72223A22616461222C22636F6D6D656E74223A22227D',1.79540611989523386958e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(7,'fc08bf9a-eb41-49cf-a4ad-b346e6fb4b8b','deployments','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "fc08bf9a-eb41-49cf-a4ad-b346e6fb4b8b"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.deployment.wanted.v1"], ["ce_time", "2026-11-23T03:55:19.898307Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "1"], ["ce_correlationid", "fc08bf9a-eb41-49cf-a4ad-b346e6fb4b8b"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C227265766973696F6E223A312C22726F75746573223A5B7B226E616D65223A22737461626C65222C2276657273696F6E223A22312E312E3230323631313232222C22776569676874223A3130302E302C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D312E31222C226D616E69666573745F646967657374223A2230386632343866346532336233393965663236336662396535666265373337333939653837363931623031376134653338323830333763613137616235373663227D5D2C226163746F72223A22616461222C22726561736F6E223A22222C2273696E6365223A22323032362D31312D32335430333A35353A31392E3839373333325A227D',1.7954061198983824253e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(8,'ee1479d5-9fe2-4b82-848c-4d2d8c1dc155','deployments','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "ee1479d5-9fe2-4b82-848c-4d2d8c1dc155"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.deployment.wanted.v1"], ["ce_time", "2026-11-23T03:55:19.899924Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "2"], ["ce_correlationid", "ee1479d5-9fe2-4b82-848c-4d2d8c1dc155"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C227265766973696F6E223A322C22726F75746573223A5B7B226E616D65223A22737461626C65222C2276657273696F6E223A22312E312E3230323631313232222C22776569676874223A39302E302C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D312E31222C226D616E69666573745F646967657374223A2230386632343866346532336233393965663236336662396535666265373337333939653837363931623031376134653338323830333763613137616235373663227D2C7B226E616D65223A2263616E617279222C2276657273696F6E223A22312E322E3230323631313232222C22776569676874223A31302E302C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D322E31222C226D616E69666573745F646967657374223A2233356532656639353431663365623231353438653963303332323230353464613534643564313766393631313431613163303364306365643866356536346564227D5D2C226163746F72223A22616461222C22726561736F6E223A22222C2273696E6365223A22323032362D31312D32335430333A35353A31392E3839393438305A227D',1.79540611989997553818e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(9,'ac8307b9-7f5d-4da1-bd87-df365822b067','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "ac8307b9-7f5d-4da1-bd87-df365822b067"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.promoted.v1"], ["ce_time", "2026-11-23T03:55:19.908238Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "9"], ["ce_correlationid", "ac8307b9-7f5d-4da1-bd87-df365822b067"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C2266726F6D5F7374616765223A2273746167696E67222C22746F5F7374616765223A2270726F64756374696F6E222C226163746F72223A22616461222C22636F6D6D656E74223A22626574746572222C227265706C616365645F76657273696F6E223A22312E312E3230323631313232227D',1.79540611990831804273e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(10,'ef5f3933-c0bf-4637-ad79-3cea06504c17','deployments','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "ef5f3933-c0bf-4637-ad79-3cea06504c17"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.deployment.wanted.v1"], ["ce_time", "2026-11-23T03:55:19.925696Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "3"], ["ce_correlationid", "ef5f3933-c0bf-4637-ad79-3cea06504c17"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C227265766973696F6E223A332C22726F75746573223A5B7B226E616D65223A22737461626C65222C2276657273696F6E223A22312E322E3230323631313232222C22776569676874223A3130302E302C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D322E31222C226D616E69666573745F646967657374223A2233356532656639353431663365623231353438653963303332323230353464613534643564313766393631313431613163303364306365643866356536346564227D5D2C226163746F72223A22616461222C22726561736F6E223A2276657273696F6E20312E322E3230323631313232207761732070726F6D6F74656420746F2070726F64756374696F6E222C2273696E6365223A22323032362D31312D32335430333A35353A31392E3932353036355A227D',1.7954061199257762432e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(11,'dd481ae4-3c5c-4322-a078-7a8651389471','access','key-407003d7aee8','[["ce_specversion", "1.0"], ["ce_id", "dd481ae4-3c5c-4322-a078-7a8651389471"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.access.granted.v1"], ["ce_time", "2026-11-23T03:55:19.926818Z"], ["ce_subject", "key-407003d7aee8"], ["ce_revision", "1"], ["ce_correlationid", "dd481ae4-3c5c-4322-a078-7a8651389471"], ["content-type", "application/json"]]',X'7B226B65795F6964223A226B65792D343037303033643761656538222C226E616D65223A226369222C22736861323536223A2235306133623132393466326464336138336666653562366364346566303136313739653030616361366435633734366165396664376661316132323639646538222C2273636F706573223A5B2272656164225D2C226D6F64656C5F7072656669786573223A5B5D7D',1.79540611992686104775e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(12,'37c48162-5f6f-4246-be39-1e51b67d1add','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "37c48162-5f6f-4246-be39-1e51b67d1add"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.annotated.v1"], ["ce_time", "2026-11-23T03:55:19.940294Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "10"], ["ce_correlationid", "37c48162-5f6f-4246-be39-1e51b67d1add"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E312E3230323631313232222C226465736372697074696F6E223A22746865206669727374206F6620616C6C222C226368616E676573223A22222C2274616773223A7B227465616D223A22626C7565227D2C226163746F72223A22616461227D',1.79540611994037032131e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(13,'45bfbf9c-f014-4f6f-828f-d7a549e1cf1f','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "45bfbf9c-f014-4f6f-828f-d7a549e1cf1f"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.aliased.v1"], ["ce_time", "2026-11-23T03:55:19.994046Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "11"], ["ce_correlationid", "45bfbf9c-f014-4f6f-828f-d7a549e1cf1f"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C22616C696173223A226368616D70696F6E222C2276657273696F6E223A22312E322E3230323631313232222C226163746F72223A22616461222C22636F6D6D656E74223A22626574746572206F6E2070726F626573227D',1.79540611999415874481e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(14,'18753f4d-79bb-4b77-8214-73493c708007','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "18753f4d-79bb-4b77-8214-73493c708007"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.approval.decided.v1"], ["ce_time", "2026-11-23T03:55:20.009054Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "12"], ["ce_correlationid", "18753f4d-79bb-4b77-8214-73493c708007"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C227374616765223A2270726F64756374696F6E222C226465636973696F6E223A22617070726F7665222C226163746F72223A22626F62222C22636F6D6D656E74223A227365656E227D',1.79540612000914382934e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(15,'0bf3cf9c-09a3-4885-a776-208e3df494c4','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "0bf3cf9c-09a3-4885-a776-208e3df494c4"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.check.recorded.v1"], ["ce_time", "2026-11-23T03:55:20.011297Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "13"], ["ce_correlationid", "0bf3cf9c-09a3-4885-a776-208e3df494c4"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C22636865636B223A22626961732D7363616E222C22706173736564223A747275652C2264657461696C223A2272756E203137222C226163746F72223A226369227D',1.79540612001136040687e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(16,'1c7ca756-07d0-4e1e-95a7-124df81e8027','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "1c7ca756-07d0-4e1e-95a7-124df81e8027"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.control.changed.v1"], ["ce_time", "2026-11-23T03:55:20.024686Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "14"], ["ce_correlationid", "1c7ca756-07d0-4e1e-95a7-124df81e8027"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C22636F6E74726F6C5F6964223A2264706961222C22636F6E74726F6C223A7B227469746C65223A22496D70616374206173736573736D656E74222C226465736372697074696F6E223A22222C226F776E6572223A226361726F6C222C2265766964656E6365223A5B226D656D6F203132225D2C227374617465223A226D6574222C22726561736F6E223A22222C22737461676573223A5B5D2C22657870697265735F6174223A6E756C6C7D2C226163746F72223A226361726F6C227D',1.79540612003226208691e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(17,'7bc15a57-1b36-4ccf-b51f-043048b8cba9','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "7bc15a57-1b36-4ccf-b51f-043048b8cba9"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.policy.changed.v1"], ["ce_time", "2026-11-23T03:55:20.036775Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "15"], ["ce_correlationid", "7bc15a57-1b36-4ccf-b51f-043048b8cba9"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C22706F6C6963795F7265766973696F6E223A312C22706F6C696379223A7B2273746167696E67223A7B22617070726F76616C73223A302C22666F75725F65796573223A66616C73652C2272657175697265645F636865636B73223A5B5D2C22726571756972655F7369676E6174757265223A66616C73652C227369676E657273223A5B5D2C22636F6D706C69616E6365223A66616C73652C22726571756972655F6368616E676573223A747275657D2C2270726F64756374696F6E223A7B22617070726F76616C73223A302C22666F75725F65796573223A66616C73652C2272657175697265645F636865636B73223A5B5D2C22726571756972655F7369676E6174757265223A66616C73652C227369676E657273223A5B5D2C22636F6D706C69616E6365223A66616C73652C22726571756972655F6368616E676573223A747275657D2C22666F726D6572223A2261726368697665222C22726574656E74696F6E223A7B2264726F705F61726368697665645F62797465735F61667465725F64617973223A6E756C6C2C226B6565705F6E6577657374223A317D7D2C226163746F72223A22616461227D',1.79540612003685879707e+09,NULL,NULL);
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
INSERT INTO "policies" VALUES('threat-classifier',1,'{"staging":{"approvals":0,"four_eyes":false,"required_checks":[],"require_signature":false,"signers":[],"compliance":false,"require_changes":true},"production":{"approvals":0,"four_eyes":false,"required_checks":[],"require_signature":false,"signers":[],"compliance":false,"require_changes":true},"former":"archive","retention":{"drop_archived_bytes_after_days":null,"keep_newest":1}}',1.795406120033493042e+09,'ada');
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
INSERT INTO "registrations" VALUES(1,'threat-classifier','job-3','models/threat-classifier/job-3.1','737efaf131be39b4644ca122da20440cb172ccc084559bbcd657cfc072d0daa2','{"job_id":"job-3","model_id":"threat-classifier","job":{"model_type":"threat-classifier","model_id":null,"model_name":null,"dataset_config":{"train_path":"/data/train.csv","validation_path":null,"test_path":null,"additional_paths":[],"label_column":null,"drop_columns":[],"label_map":null,"validation_fraction":0.2,"augmentation":{"enabled":false,"techniques":[]}},"model_config":{"architecture":"mlp","layers":null,"dropout":0.2,"optimizer":{"type":"adam","learning_rate":0.001,"decay":0.0},"loss":"categorical_crossentropy","metrics":["accuracy"]},"training_config":{"epochs":20,"batch_size":128,"early_stopping":{"enabled":true,"patience":5,"monitor":"val_loss","mode":"auto"},"seed":0},"holdout":null,"description":"","changes":"","tags":{}},"artifact":"models/threat-classifier/job-3.1","manifest_digest":"737efaf131be39b4644ca122da20440cb172ccc084559bbcd657cfc072d0daa2","content_digest":"4f573e2f033f11524e2c4c5315d31b12c52bf216eec319a15c0238429b064a4b","dataset_digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","metrics":{},"register_as_version":true,"notes":[],"comparison":null,"experiment_id":null,"trial":null,"cycle_id":null}',NULL,'pending',0,1.79540612018043756487e+09,NULL,NULL,1.79540612018043804166e+09);
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
INSERT INTO "revisions" VALUES('key','key-407003d7aee8',1);
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
',1.79540612017856407163e+09,'ada',NULL);
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
INSERT INTO "stage_moves" VALUES(1,'threat-classifier','1.1.20261122',NULL,'draft',1.79540611981533789636e+09,'trainer','registered',NULL);
INSERT INTO "stage_moves" VALUES(2,'threat-classifier','1.1.20261122','draft','staging',1.79540611986360502247e+09,'ada','looks good',NULL);
INSERT INTO "stage_moves" VALUES(3,'threat-classifier','1.2.20261122',NULL,'draft',1.79540611987870693208e+09,'trainer','registered',NULL);
INSERT INTO "stage_moves" VALUES(4,'threat-classifier','1.2.20261122','draft','staging',1.79540611989102601997e+09,'ada','looks good',NULL);
INSERT INTO "stage_moves" VALUES(5,'threat-classifier','1.1.20261122','staging','production',1.7954061198945410251e+09,'ada','',NULL);
INSERT INTO "stage_moves" VALUES(6,'threat-classifier','1.1.20261122','production','archived',1.79540611990716195102e+09,'ada','replaced by 1.2.20261122',NULL);
INSERT INTO "stage_moves" VALUES(7,'threat-classifier','1.2.20261122','staging','production',1.79540611990757894515e+09,'ada','better','1.1.20261122');
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
INSERT INTO "versions" VALUES('threat-classifier','1.1.20261122',1,1,20261122,'archived',1.79540611990716195102e+09,'models/threat-classifier/job-1.1','{"changes":"","content_digest":"6e01c4693929bca11ef7852da9b52612afd6622101ada7223fd70382b0805ef9","created_at":"2026-06-14T12:00:00Z","description":"","files":[{"is_model":true,"path":"model.onnx","sha256":"0000000000000000000000000000000000000000000000000000000000000001","size":1001}],"framework":"keras","hyperparameters":{"learning_rate":0.001},"lineage":{"cycle_id":null,"dataset_digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","experiment_id":null,"job_id":"job-1","parent_version":null,"trial":null},"metrics":{"val_accuracy":0.91},"model_id":"threat-classifier","model_name":"","model_type":"threat-classifier","signature":{"classes":["normal","attack"],"inputs":[{"categories":null,"dtype":"float32","filler":null,"maximum":null,"minimum":null,"name":"duration","nullable":false,"shape":[]},{"categories":null,"dtype":"string","filler":null,"maximum":null,"minimum":null,"name":"protocol","nullable":false,"shape":[]}],"outputs":[{"dtype":"float32","name":"probabilities","role":"probabilities","shape":[2]}]},"tags":{}}','08f248f4e23b399ef263fb9e5fbe737399e87691b017a4e3828037ca17ab576c','6e01c4693929bca11ef7852da9b52612afd6622101ada7223fd70382b0805ef9','b6d2b32212ac64608cb4c36b1e8cbc3a58ab28fbc4334c49b81c2cc3c59f50f7',1001,NULL,1.79540611981533789636e+09,'trainer','keras','the first of all','','{"team": "blue"}','job-1',NULL,'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd',NULL,1);
INSERT INTO "versions" VALUES('threat-classifier','1.2.20261122',1,2,20261122,'production',1.79540611990757894515e+09,'models/threat-classifier/job-2.1','{"changes":"","content_digest":"1a575ff8c6b3a651731ac8c4ba3c0cabaac81b01f05aece7a4d52b0be9774e1a","created_at":"2026-06-14T12:00:00Z","description":"","files":[{"is_model":true,"path":"model.onnx","sha256":"0000000000000000000000000000000000000000000000000000000000000002","size":1002}],"framework":"keras","hyperparameters":{"learning_rate":0.001},"lineage":{"cycle_id":null,"dataset_digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","experiment_id":null,"job_id":"job-2","parent_version":null,"trial":null},"metrics":{"val_accuracy":0.92},"model_id":"threat-classifier","model_name":"","model_type":"threat-classifier","signature":{"classes":["normal","attack"],"inputs":[{"categories":null,"dtype":"float32","filler":null,"maximum":null,"minimum":null,"name":"duration","nullable":false,"shape":[]},{"categories":null,"dtype":"string","filler":null,"maximum":null,"minimum":null,"name":"protocol","nullable":false,"shape":[]}],"outputs":[{"dtype":"float32","name":"probabilities","role":"probabilities","shape":[2]}]},"tags":{}}','35e2ef9541f3eb21548e9c03222054da54d5d17f961141a1c03d0ced8f5e64ed','1a575ff8c6b3a651731ac8c4ba3c0cabaac81b01f05aece7a4d52b0be9774e1a','82bf4ec1443d34ed070ca0846e83876f126c2e54e3e041a38314903ee0143c5b',1002,NULL,1.79540611987870693208e+09,'trainer','keras','','learnt from June''s labels','{}','job-2',NULL,'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd',NULL,3);
CREATE INDEX outbox_unpublished ON outbox (seq) WHERE published_at IS NULL AND parked IS NULL;
CREATE UNIQUE INDEX versions_order ON versions (model_id, major, minor, patch);
CREATE INDEX versions_content ON versions (model_id, content_digest);
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
